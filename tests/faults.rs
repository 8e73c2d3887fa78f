//! Runs tests/faults: what the library does when system calls and allocations
//! fail. Each case of the program is a test here, in its own process.
//!
//! The program takes the place of the C library's functions by defining them,
//! which works on the shared library alone. The archive has the same code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use libtest_mimic::{Arguments, Failed, Trial};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

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

/// Installs the library of this test's own profile to `prefix`.
fn install(prefix: &Path) -> Result<String, String> {
    let exe = std::env::current_exe().expect("own path");
    let target_dir = exe.ancestors().nth(3).expect("target/PROFILE/deps/test");
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    run(Command::new("make")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Options and variables of a make that runs us are not meant for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env("CARGO_TARGET_DIR", target_dir)
        .arg("install")
        .arg(format!("PROFILE={profile}"))
        .arg(format!("PREFIX={}", prefix.display())))
}

/// Compiles the program against what was installed.
fn compile(prefix: &Path) -> Result<PathBuf, String> {
    let program = prefix.join("faults");
    let lib = prefix.join("lib");
    run(Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror"])
        // malloc() and the like are ours: nothing may be concluded from their
        // names. -rdynamic lets the library find them.
        .args(["-fno-builtin", "-rdynamic", "-o"])
        .arg(&program)
        .arg("-I")
        .arg(prefix.join("include/kqueue"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/faults.c"))
        .arg("-L")
        .arg(&lib)
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .args(["-lkqueue", "-ldl"]))?;
    Ok(program)
}

fn main() {
    let mut arguments = Arguments::from_args();
    let dir = tempfile::tempdir().expect("directory");
    let ready = install(dir.path()).and_then(|_| compile(dir.path()));
    let program = ready.unwrap_or_else(|error| panic!("{error}"));
    let names = run(Command::new(&program).arg("--list").env_remove("LD_LIBRARY_PATH"))
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(!names.is_empty(), "the program has no cases");
    let trials = names.lines().map(|name| {
        let (program, case, home) = (program.clone(), name.to_owned(), dir.path().to_owned());
        Trial::test(name, move || {
            // Files that a case makes go to the temporary directory.
            // Cargo's library path would win over that of the program.
            run(Command::new(program)
                .arg(case)
                .current_dir(home)
                .env_remove("LD_LIBRARY_PATH")
                .env_remove("KQUEUE_DEBUG"))
            .map_or_else(|error| Err(Failed::from(error)), |_| Ok(()))
        })
    });
    // A case waits for clocks more than it works.
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(4 * processors);
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // exit() would leave the directory behind.
    drop(dir);
    conclusion.exit();
}
