//! Runs cases of tests/c against a library that was built without something
//! that newer kernels have, so that what it does instead is walked too.
//!
//! | cfg | without | cases |
//! |---|---|---|
//! | `kqueue_no_pidfd` | pidfd_open() (since 5.3): processes are looked at by the clock | `proc`, `procdesc` |
//!
//! The library is built apart, beside the test's own. A case is told what is
//! missing by `KQUEUE_TEST_NO_PIDFD`: a status that somebody has reaped before
//! it was looked at is lost then.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a case exits with when it cannot run here (`SKIP` in common.h).
const EXIT_SKIPPED: i32 = 77;

/// What `timeout` exits with when the time is up; the cases' own waits end
/// after 20 s.
const LIMIT: &str = "100";

/// Runs the command, which must succeed; what it wrote to standard output.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{said}{error}", output.status))
}

/// Builds the library with this cfg and installs it to `prefix`.
fn install(cfg: &str, prefix: &Path) -> Result<String, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target directory")?;
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    run(Command::new("make")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Options and variables of a make that runs us are not meant for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env("CARGO_TARGET_DIR", target.join("fallbacks").join(cfg))
        .env("RUSTFLAGS", format!("--cfg {cfg}"))
        .arg("install")
        .arg(format!("PROFILE={profile}"))
        .arg(format!("PREFIX={}", prefix.display())))
}

/// Compiles a file of tests/c against what was installed.
fn compile(prefix: &Path, file: &str) -> Result<PathBuf, String> {
    let program = prefix.join(file);
    let lib = prefix.join("lib");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(format!("{file}.c"));
    run(Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg("-I")
        .arg(prefix.join("include/kqueue"))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(&lib)
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .arg("-lkqueue"))?;
    Ok(program)
}

/// One case, in a process of its own.
fn case(program: &Path, name: &str) -> Result<Completion, Failed> {
    // A file, not a pipe: a process that outlives the case would keep a pipe
    // open, and the reader waiting.
    let mut log = tempfile::tempfile()?;
    let status = Command::new("timeout")
        .args(["--signal=KILL", LIMIT])
        .arg(program)
        .arg(name)
        .current_dir(program.parent().ok_or("a program without a directory")?)
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("KQUEUE_DEBUG")
        .env("KQUEUE_TEST_NO_PIDFD", "1")
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .status()?;
    let mut bytes = Vec::new();
    log.rewind()?;
    log.read_to_end(&mut bytes)?;
    let said = String::from_utf8_lossy(&bytes);
    match status.code() {
        Some(0) => Ok(Completion::Completed),
        Some(EXIT_SKIPPED) => said
            .lines()
            .find_map(|line| line.strip_prefix("skipped: "))
            .map(Completion::ignored_with)
            .ok_or_else(|| "skipped without a reason".into()),
        _ => Err(format!("{status}\n{said}").into()),
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let dir = tempfile::tempdir().expect("directory");
    let mut trials = Vec::new();
    install("kqueue_no_pidfd", dir.path()).unwrap_or_else(|error| panic!("{error}"));
    for file in ["proc", "procdesc"] {
        let program = compile(dir.path(), file).unwrap_or_else(|error| panic!("{error}"));
        let names = run(Command::new(&program).arg("--list").env_remove("LD_LIBRARY_PATH"))
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(!names.is_empty(), "the program has no cases");
        for name in names.lines() {
            let (program, case_name) = (program.clone(), name.to_owned());
            trials.push(Trial::ignorable_test(format!("no_pidfd::{file}::{name}"), move || {
                case(&program, &case_name)
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // exit() would leave the directory behind.
    drop(dir);
    conclusion.exit();
}
