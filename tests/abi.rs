//! The binary interface: what a program that was built long ago, or is built
//! by another compiler, meets. Symbols and ELF notes, numbers and layouts, the
//! header under every standard, a stand-in for libkqueue replaced by ours,
//! errno, kevent64() and the trace.
//!
//! The C side is in `tests/abi`. What cannot run here, for want of a compiler,
//! is listed as ignored.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use common::{make, run, variable};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SYMBOLS: [&str; 7] = [
    "kevent",
    "kevent64",
    "kqueue",
    "kqueue1",
    "kqueuex",
    "libkqueue_drain_pending_close",
    "libkqueue_init",
];

/// What the preload library stands before, and the one symbol by which the two
/// libraries meet. The functions with lists of arguments are in assembly.
const PRELOAD_SYMBOLS: [&str; 33] = [
    "__sysv_signal",
    "bsd_signal",
    "close",
    "close_range",
    "closedir",
    "closefrom",
    "dup2",
    "dup3",
    "execl",
    "execle",
    "execlp",
    "execv",
    "execve",
    "execveat",
    "execvp",
    "execvpe",
    "fclose",
    "fexecve",
    "freopen",
    "freopen64",
    "libkqueue_preload_attach",
    "pclose",
    "popen",
    "posix_spawn",
    "posix_spawnp",
    "sigaction",
    "sigignore",
    "siginterrupt",
    "signal",
    "sigset",
    "ssignal",
    "system",
    "sysv_signal",
];

/// No program here takes a second; one that hangs is ended by SIGALRM.
const LIMIT_SECONDS: u32 = 120;

/// What a case exits with when it cannot run here (`SKIP` in common.h).
const SKIPPED: i32 = 77;

/// The standards that the header is promised for, and those between.
const C_STANDARDS: [&str; 5] = ["c89", "c99", "c11", "gnu11", "c17"];
const CXX_STANDARDS: [&str; 3] = ["c++11", "c++17", "c++20"];
const STRICT: [&str; 5] = ["-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"];

fn main() {
    let arguments = Arguments::from_args();
    let dir = tempfile::tempdir().expect("directory");
    let stage = Stage::new(dir.path());
    let mut trials = vec![
        stage.trial("exports_exactly_the_interface", exports_exactly_the_interface),
        stage.trial("archive_defines_the_same_symbols", archive_defines_the_same_symbols),
        stage.trial("soname_nodelete_and_needed", soname_nodelete_and_needed),
        stage.trial("preload::exports_exactly_what_it_replaces", preload_exports),
        stage.trial("preload::needs_no_libkqueue", preload_needs_no_libkqueue),
        stage.trial("preload::serves_the_archive_and_what_is_opened", preload_serves_all),
        stage.trial("preload::outlives_a_plugin_that_is_closed", preload_outlives_a_plugin),
        stage.trial("loading::waits_for_no_dlopen", loading_waits_for_no_dlopen),
        stage.trial("preload::lets_another_library_hear_of_a_close", preload_is_not_alone),
        stage.trial("preload::serves_sixteen_libraries", preload_serves_sixteen),
        stage.trial("committed_header_is_the_generated_one", committed_header_is_the_generated_one),
        stage.trial("constants_and_layout_are_frozen", constants_and_layout_are_frozen),
        stage.trial("no_constant_goes_unchecked", no_constant_goes_unchecked),
        stage.trial("old_binary::library_path", old_binary_by_library_path),
        stage.trial("old_binary::preload", old_binary_by_preload),
        stage.trial("old_binary::both_preloads", old_binary_by_both_preloads),
        stage.trial("trace::shows_calls_with_names", trace_shows_calls_with_names),
        stage.trial("trace::is_silent_unless_asked", trace_is_silent_unless_asked),
    ];
    trials.extend(header_trials(&stage));
    // Only a run of all, or of some: listing builds nothing.
    if arguments.list {
        libtest_mimic::run(&arguments, trials).exit();
    }
    stage.install();
    for (program, environments) in
        [("errno", &[("", None), ("traced::", Some("1"))][..]), ("kevent64", &[("", None)][..])]
    {
        trials.extend(case_trials(&stage, program, environments));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // exit() runs no destructor.
    dir.close().expect("directory removed");
    conclusion.exit();
}

/// Where the library is installed, and where programs are built.
#[derive(Clone)]
struct Stage {
    prefix: PathBuf,
}

impl Stage {
    fn new(dir: &Path) -> Stage {
        Stage { prefix: dir.join("prefix") }
    }

    /// What is tested is what is shipped: not the library as cargo builds it
    /// for tests, which unwinds.
    fn install(&self) {
        make("install", &[variable("PREFIX", &self.prefix)]);
    }

    fn lib(&self) -> PathBuf {
        self.prefix.join("lib")
    }

    fn library(&self) -> PathBuf {
        self.lib().join("libkqueue.so.0")
    }

    fn preload(&self) -> PathBuf {
        self.lib().join("libkqueue-preload.so")
    }

    /// An argument for the compiler.
    fn include(&self) -> String {
        format!("-I{}", self.prefix.join("include/kqueue").display())
    }

    /// A path for what a trial builds: by its name, as trials run at once.
    fn scratch(&self, name: &str) -> PathBuf {
        self.prefix.parent().expect("parent").join(name)
    }

    /// A compiler's command line that ends in a program linked to the staged
    /// library.
    fn build(&self, compiler: &mut Command, source: &Path, program: &Path) {
        run(compiler
            .arg(self.include())
            .arg("-o")
            .arg(program)
            .arg(source)
            .arg(format!("-L{}", self.lib().display()))
            .arg("-lkqueue"));
    }

    /// A program that finds the staged library, with no trace but an asked one.
    fn program(&self, program: &Path) -> Command {
        let mut command = limited(program);
        command.env("LD_LIBRARY_PATH", self.lib());
        command
    }

    fn trial(&self, name: &str, test: fn(&Stage)) -> Trial {
        let stage = self.clone();
        Trial::test(name, move || {
            test(&stage);
            Ok(())
        })
    }
}

/// A command that is ended if it hangs, and whose loader and library are told
/// nothing by our own environment.
fn limited(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("KQUEUE_DEBUG")
        .env_remove("LD_PRELOAD")
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null());
    let limit = || {
        // SAFETY: alarm() may be called in a forked child, and touches nothing
        // of ours; exec keeps the alarm.
        unsafe { libc::alarm(LIMIT_SECONDS) };
        Ok(())
    };
    // SAFETY: what is called there is safe between fork and exec.
    unsafe { command.pre_exec(limit) };
    command
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abi").join(name)
}

fn readelf(option: &str, file: &Path) -> String {
    run(Command::new("readelf").env("LC_ALL", "C").args(["-W", option]).arg(file))
}

/// `nm -P`, a line a symbol: name and type.
fn nm(options: &[&str], file: &Path) -> Vec<(String, String)> {
    let said = run(Command::new("nm").env("LC_ALL", "C").arg("-P").args(options).arg(file));
    said.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

// Symbols and ELF notes.

fn exports_exactly_the_interface(stage: &Stage) {
    let exported = nm(&["-D", "--defined-only"], &stage.library());
    // A version would stand behind the name: kevent@@LIBKQUEUE_1.
    let wanted: Vec<_> = SYMBOLS.map(|name| (name.to_owned(), "T".to_owned())).into();
    assert_eq!(exported, wanted);
    let versions = readelf("-V", &stage.library());
    assert!(!versions.contains("Version definition"), "{versions}");
    assert!(versions.contains("Version needs"), "readelf -V says nothing: {versions}");
}

/// Read by readelf: where a plugin for another LLVM is installed, nm takes an
/// object with Rust's bitcode beside its code for one without symbols.
fn archive_defines_the_same_symbols(stage: &Stage) {
    let table = readelf("-s", &stage.lib().join("libkqueue.a"));
    // Number, value, size, type, binding, visibility, section, name.
    let ours: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|words: &Vec<_>| words.len() == 8 && words[4] != "LOCAL" && words[6] != "UND")
        .filter(|words| ["kqueue", "kevent", "libkqueue"].iter().any(|p| words[7].starts_with(p)))
        .collect();
    let mut names: Vec<_> = ours.iter().map(|words| words[7]).collect();
    names.sort_unstable();
    assert_eq!(names, SYMBOLS);
    for words in ours {
        assert_eq!(words[3..6], ["FUNC", "GLOBAL", "DEFAULT"], "{}", words[7]);
    }
}

fn soname_nodelete_and_needed(stage: &Stage) {
    let dynamic = readelf("-d", &stage.library());
    let named = |tag: &str| -> Vec<String> {
        let lines = dynamic.lines().filter(|line| line.contains(tag));
        lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.into())).collect()
    };
    assert_eq!(named("(SONAME)"), ["libkqueue.so.0"]);

    // dlclose() must not unmap a library that a fork handler points into.
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)")).expect("DF_1 flags");
    assert!(flags.split_whitespace().any(|flag| flag == "NODELETE"), "{flags}");

    // The C library in its parts, and the compiler's run-time library, which
    // Rust's needs for backtraces.
    let family =
        ["libc", "libpthread", "libdl", "libm", "librt", "libgcc_s", "ld-linux", "ld-musl"];
    let needed = named("(NEEDED)");
    assert!(needed.iter().any(|name| name.starts_with("libc.")), "{needed:?}");
    for name in &needed {
        let stem = name.split(".so").next().expect("a first part");
        let known = |member: &str| {
            stem == member
                || stem.starts_with(&format!("{member}-"))
                || stem.starts_with(&format!("{member}.musl-"))
        };
        assert!(family.iter().any(|member| known(member)), "needs {name}");
    }
    assert_eq!(named("(RPATH)"), [""; 0]);
    assert_eq!(named("(RUNPATH)"), [""; 0]);

    // Hardened systems refuse both.
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
    let segments = readelf("-l", &stage.library());
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("GNU_STACK");
    assert!(stack.contains(" RW ") && !stack.contains("RWE"), "{stack}");
}

// The preload library.

fn preload_exports(stage: &Stage) {
    let exported = nm(&["-D", "--defined-only"], &stage.preload());
    let lists = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
    let wanted: Vec<_> = PRELOAD_SYMBOLS
        .into_iter()
        .filter(|name| lists || !["execl", "execle", "execlp"].contains(name))
        .map(|name| (name.to_owned(), "T".to_owned()))
        .collect();
    assert_eq!(exported, wanted);
}

/// It must not bring a second registry, nor be unmapped.
fn preload_needs_no_libkqueue(stage: &Stage) {
    let dynamic = readelf("-d", &stage.preload());
    assert!(dynamic.contains("soname: [libkqueue-preload.so]"), "{dynamic}");
    assert!(!dynamic.contains("[libkqueue.so"), "{dynamic}");
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)")).expect("DF_1 flags");
    assert!(flags.split_whitespace().any(|flag| flag == "NODELETE"), "{flags}");
}

/// Linked in, opened by dlopen(), or both at once.
fn preload_serves_all(stage: &Stage) {
    let archive = stage.lib().join("libkqueue.a");
    for (name, arguments) in [
        ("preload-archive", vec![archive.clone().into_os_string()]),
        ("preload-opened", vec!["-DOPENED".into()]),
        ("preload-both", vec!["-DBOTH".into(), archive.into_os_string()]),
    ] {
        let program = stage.scratch(name);
        run(Command::new("cc")
            .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"])
            .arg(stage.include())
            .arg(source("preload.c"))
            .args(arguments)
            .arg("-ldl")
            .arg("-lm")
            .arg("-o")
            .arg(&program));
        run(limited(&program).arg(stage.library()).env("LD_PRELOAD", stage.preload()));
        // And without: then there is what it is for.
        let alone = limited(&program).arg(stage.library()).output().expect("run");
        assert_eq!(alone.status.code(), Some(1), "{alone:?}");
    }
}

/// A program or a library made of `tests/abi`, with these arguments and what is
/// linked in.
fn preload_build(
    stage: &Stage,
    name: &str,
    from: &str,
    arguments: &[&str],
    linked: &[&str],
) -> PathBuf {
    let made = stage.scratch(name);
    run(Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .args(arguments)
        .arg(stage.include())
        .arg(source(from))
        .args(linked)
        .args(["-ldl", "-lm", "-o"])
        .arg(&made));
    made
}

/// A plugin that the archive is linked into may be closed: what the preload
/// library calls must stay.
fn preload_outlives_a_plugin(stage: &Stage) {
    let archive = stage.lib().join("libkqueue.a").display().to_string();
    let shared = ["-shared", "-fPIC", "-DPLUGIN"];
    let plugin = preload_build(stage, "preload-plugin.so", "preload.c", &shared, &[&archive]);
    let host = preload_build(stage, "preload-host", "preload.c", &["-DHOST"], &[]);
    run(limited(&host).arg(plugin).env("LD_PRELOAD", stage.preload()));
}

/// A plugin, with either library, whose constructor waits for a thread that uses
/// queues; and no message is left for dlerror().
fn loading_waits_for_no_dlopen(stage: &Stage) {
    let build = |name: &str, arguments: &[&str], library: Option<PathBuf>| {
        let made = stage.scratch(name);
        run(Command::new("cc")
            .args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"])
            .args(arguments)
            .arg(stage.include())
            .arg(source("loading.c"))
            .args(library)
            .args(["-ldl", "-lm", "-o"])
            .arg(&made));
        made
    };
    let runpath = format!("-Wl,--no-as-needed,-rpath,{}", stage.lib().display());
    let shared = build("loading-host-shared", &[runpath.as_str()], Some(stage.library()));
    let bare = build("loading-host", &[], None);
    for (name, library) in [
        ("loading-shared.so", stage.library()),
        ("loading-archive.so", stage.lib().join("libkqueue.a")),
    ] {
        let plugin =
            build(name, &["-shared", "-fPIC", "-DPLUGIN", runpath.as_str()], Some(library));
        for host in [&shared, &bare] {
            run(limited(host).arg(&plugin));
            run(limited(host).arg(&plugin).env("LD_PRELOAD", stage.preload()));
        }
    }
}

/// A close that it was told of goes on to whoever stands behind it.
fn preload_is_not_alone(stage: &Stage) {
    let archive = stage.lib().join("libkqueue.a").display().to_string();
    let other = preload_build(stage, "heard.so", "heard.c", &["-shared", "-fPIC"], &[]);
    let program = preload_build(stage, "preload-heard", "preload.c", &["-DHEARD"], &[&archive]);
    let both = format!("{}:{}", stage.preload().display(), other.display());
    run(limited(&program).env("LD_PRELOAD", both));
}

/// Each has a registry of its own. The next one does without, as do two that
/// watch the same signal.
fn preload_serves_sixteen(stage: &Stage) {
    let program = preload_build(stage, "preload-copies", "preload.c", &["-DCOPIES=16"], &[]);
    let copies: Vec<_> = (0..17).map(|i| stage.scratch(&format!("copy{i}.so"))).collect();
    for copy in &copies {
        fs::copy(stage.library(), copy).expect("copy");
    }
    run(limited(&program).args(&copies).env("LD_PRELOAD", stage.preload()));
}

// The header.

fn committed_header_is_the_generated_one(_: &Stage) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/sys/event.h");
    let committed = fs::read_to_string(committed).expect("include/sys/event.h");
    let generated = Path::new(env!("OUT_DIR")).join("event.h");
    let generated = fs::read_to_string(generated).expect("the generated header");
    if committed == generated {
        return;
    }
    let (mut old, mut new) = (committed.lines(), generated.lines());
    for number in 1.. {
        let (old, new) = (old.next(), new.next());
        assert!(
            old == new && old.is_some(),
            "include/sys/event.h is not what its sources make; run `make header` and commit it.\n\
             First difference, in line {number}:\n  committed: {}\n  generated: {}",
            old.unwrap_or("(end)"),
            new.unwrap_or("(end)"),
        );
    }
}

fn constants_and_layout_are_frozen(stage: &Stage) {
    run(Command::new("cc")
        .args(["-std=c11", "-fsyntax-only"])
        .args(STRICT)
        .arg(stage.include())
        .arg(source("constants.c")));
}

/// Every macro that the header adds to those of the headers it includes is in
/// `constants.c`, and no name is there twice.
fn no_constant_goes_unchecked(stage: &Stage) {
    let macros = |text: &str, name: &str| -> BTreeSet<String> {
        let file = stage.scratch(name);
        fs::write(&file, text).expect("written");
        let said = run(Command::new("cc").args(["-E", "-dM"]).arg(stage.include()).arg(file));
        said.lines()
            .filter_map(|line| {
                let name = line.strip_prefix("#define ")?.split([' ', '(']).next()?;
                Some(name.to_owned())
            })
            .collect()
    };
    let with = macros("#include <sys/event.h>\n", "with.c");
    let header = fs::read_to_string(stage.prefix.join("include/kqueue/sys/event.h")).unwrap();
    let includes: String = header
        .lines()
        .filter(|line| line.starts_with("#include <"))
        .fold(String::new(), |all, line| all + line + "\n");
    let without = macros(&includes, "without.c");
    let added: BTreeSet<_> = with.difference(&without).map(String::as_str).collect();

    let checks = fs::read_to_string(source("constants.c")).unwrap();
    let names: Vec<_> =
        checks.lines().filter_map(|line| line.strip_prefix("SAME(")?.split(',').next()).collect();
    let mut checked: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(names.len(), checked.len(), "a name is checked twice");
    checked.extend(["EV_SET", "KQUEUE_SYS_EVENT_H"]);
    let unchecked: Vec<_> = added.difference(&checked).collect();
    assert!(unchecked.is_empty(), "defined but not in tests/abi/constants.c: {unchecked:?}");
    let missing: Vec<_> = checked.difference(&added).collect();
    assert!(missing.is_empty(), "in tests/abi/constants.c but not defined: {missing:?}");
}

/// For each compiler, each standard: the header alone, twice, and after
/// others; then EV_SET, run.
fn header_trials(stage: &Stage) -> Vec<Trial> {
    let compilers = [("gcc", "g++"), ("clang", "clang++")];
    let mut trials = Vec::new();
    for (c, cxx) in compilers {
        for (compiler, language, standards) in
            [(c, "c", &C_STANDARDS[..]), (cxx, "c++", &CXX_STANDARDS[..])]
        {
            let present = Command::new(compiler).arg("--version").output().is_ok();
            for standard in standards {
                let strict = move || {
                    let mut command = Command::new(compiler);
                    command.args(STRICT).args(["-x", language]).arg(format!("-std={standard}"));
                    command
                };
                for (how, definition) in
                    [("alone", "-DALONE"), ("twice", "-DTWICE"), ("after_others", "-DOTHERS_FIRST")]
                {
                    let stage = stage.clone();
                    let name = format!("header::{compiler}::{standard}::{how}");
                    trials.push(wanting(present, compiler, name, move || {
                        run(strict()
                            .args(["-fsyntax-only", definition])
                            .arg(stage.include())
                            .arg(source("header.c")));
                    }));
                }
                let stage = stage.clone();
                let name = format!("ev_set::{compiler}::{standard}");
                trials.push(wanting(present, compiler, name, move || {
                    let program = stage.scratch(&format!("ev_set-{compiler}-{standard}"));
                    // Not linked to the library: EV_SET needs none.
                    run(strict()
                        .arg(stage.include())
                        .arg(source("ev_set.c"))
                        .arg("-o")
                        .arg(&program));
                    run(&mut limited(&program));
                }));
            }
        }
    }
    trials
}

/// A trial that is listed as ignored, with the reason, if its compiler is not
/// there.
fn wanting(
    present: bool,
    compiler: &str,
    name: String,
    test: impl FnOnce() + Send + 'static,
) -> Trial {
    let trial = Trial::test(name, move || {
        if !present {
            // Asked for with --ignored or --include-ignored.
            return Err(Failed::from("the compiler is not installed"));
        }
        test();
        Ok(())
    });
    if present { trial } else { trial.with_kind(format!("no {compiler}")).with_ignored_flag(true) }
}

// Programs of cases, as in tests/c.

/// A trial for each case of `tests/abi/NAME.c` in each environment: a prefix
/// of the trial's name, and KQUEUE_DEBUG.
fn case_trials(
    stage: &Stage,
    name: &'static str,
    environments: &[(&'static str, Option<&'static str>)],
) -> Vec<Trial> {
    let program = stage.scratch(name);
    let harness = source("../c");
    stage.build(
        Command::new("cc")
            .args(["-std=c11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror"])
            .arg("-I")
            .arg(harness),
        &source(&format!("{name}.c")),
        &program,
    );
    let cases = run(stage.program(&program).arg("--list"));
    assert!(!cases.trim().is_empty(), "{name}.c has no cases");
    let mut trials = Vec::new();
    for (prefix, debug) in environments {
        for case in cases.lines() {
            let (stage, program, debug) = (stage.clone(), program.clone(), *debug);
            let case = case.to_owned();
            trials.push(Trial::ignorable_test(format!("{name}::{prefix}{case}"), move || {
                let mut command = stage.program(&program);
                if let Some(debug) = debug {
                    command.env("KQUEUE_DEBUG", debug);
                }
                let output = command.arg(&case).output().expect("run");
                let said = String::from_utf8_lossy(&output.stdout);
                match output.status.code() {
                    Some(0) => Ok(Completion::Completed),
                    Some(SKIPPED) => Ok(Completion::ignored_with(said.trim())),
                    _ => Err(Failed::from(format!(
                        "{}\n{said}{}",
                        output.status,
                        String::from_utf8_lossy(&output.stderr),
                    ))),
                }
            }));
        }
    }
    trials
}

// A binary of libkqueue 2.x.

/// The stand-in's directory, and a program linked to it.
fn old_binary(stage: &Stage, name: &str) -> (PathBuf, PathBuf) {
    let dir = stage.scratch(name);
    fs::create_dir(&dir).expect("directory made");
    let (library, program) = (dir.join("libkqueue.so.0"), dir.join("program"));
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libkqueue.so.0", "-o"])
        .arg(&library)
        .arg(source("old/library.c")));
    run(Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .arg(source("old/program.c"))
        .arg(&library));
    // The program is as said: it asks for the name, and gets the stand-in.
    assert!(readelf("-d", &program).contains("Shared library: [libkqueue.so.0]"));
    let refused = limited(&program).env("LD_LIBRARY_PATH", &dir).output().expect("run");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.starts_with("kqueue ("), "the stand-in did not answer: {said}");
    (dir, program)
}

const OLD_BINARY_SAYS: &str = "read\ntimer\nuser\nanswers\nclosed\n";

fn old_binary_by_library_path(stage: &Stage) {
    let (_, program) = old_binary(stage, "old-library-path");
    // All symbols are looked up at the start, so a missing one cannot hide.
    let said = run(stage.program(&program).env("LD_BIND_NOW", "1"));
    assert_eq!(said, OLD_BINARY_SAYS);
}

/// The stand-in is where the loader looks, but ours is there already under its
/// name.
fn old_binary_by_preload(stage: &Stage) {
    let (dir, program) = old_binary(stage, "old-preload");
    let said = run(limited(&program)
        .env("LD_LIBRARY_PATH", &dir)
        .env("LD_PRELOAD", stage.library())
        .env("LD_BIND_NOW", "1"));
    assert_eq!(said, OLD_BINARY_SAYS);
}

/// In the other library's place, and with what tells it of each close.
fn old_binary_by_both_preloads(stage: &Stage) {
    let (dir, program) = old_binary(stage, "old-preloads");
    let both = format!("{}:{}", stage.preload().display(), stage.library().display());
    let said = run(limited(&program).env("LD_LIBRARY_PATH", &dir).env("LD_PRELOAD", both));
    assert_eq!(said, OLD_BINARY_SAYS);
}

// The trace.

/// Builds and runs `trace.c`; what it wrote.
fn traced(stage: &Stage, name: &str, debug: Option<&str>) -> Output {
    let program = stage.scratch(name);
    stage.build(
        Command::new("cc").args(["-std=c11", "-Wall", "-Wextra", "-Werror"]),
        &source("trace.c"),
        &program,
    );
    let mut command = stage.program(&program);
    if let Some(debug) = debug {
        command.env("KQUEUE_DEBUG", debug);
    }
    let output = command.output().expect("run");
    assert!(output.status.success(), "{output:?}");
    output
}

fn trace_shows_calls_with_names(stage: &Stage) {
    let output = traced(stage, "trace-on", Some("1"));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let known: BTreeMap<_, _> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    let trace = String::from_utf8(output.stderr).expect("UTF-8");

    // Prefix, process/thread, seconds with six places that never go back.
    let who = format!("KQ {}/{} ", known["pid"], known["tid"]);
    let mut before = 0;
    let mut calls = Vec::new();
    for line in trace.lines() {
        let rest = line.strip_prefix(&who).unwrap_or_else(|| panic!("not by {who}: {line}"));
        let (time, rest) = rest.split_once(' ').expect("a time");
        let (seconds, micros) = time.split_once('.').expect("a point");
        assert_eq!(micros.len(), 6, "{line}");
        let now = seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap();
        assert!(now >= before, "time goes back: {trace}");
        before = now;
        calls.push(rest);
    }

    let (list, out, wide) = (known["in"], known["out"], known["wide"]);
    // The number that kqueue() gave is not known beforehand.
    let made = calls.get(1).and_then(|line| line.strip_prefix("RET   kqueue ")).unwrap_or("?");
    assert!(made.parse::<u32>().is_ok(), "{trace}");
    let wanted = TRACE
        .replace("{made}", made)
        .replace("{in}", list)
        .replace("{out}", out)
        .replace("{wide}", wide);
    let wanted: Vec<_> = wanted.lines().collect();
    for (index, (got, wanted)) in calls.iter().zip(&wanted).enumerate() {
        assert_eq!(got, wanted, "line {} of\n{trace}", index + 1);
    }
    assert_eq!(calls.len(), wanted.len(), "{trace}");
}

/// What `trace.c` does, call by call.
const TRACE: &str = "\
CALL  kqueue()
RET   kqueue {made}
CALL  kevent(102,{in},3,0x0,0)
STRU  struct kevent { ident=100, filter=EVFILT_READ, flags=0x21<EV_ADD|EV_CLEAR>, fflags=0x1<NOTE_LOWAT>, data=3, udata=0x0 }
STRU  struct kevent { ident=1, filter=EVFILT_TIMER, flags=0x11<EV_ADD|EV_ONESHOT>, fflags=0x1<NOTE_SECONDS>, data=1000, udata=0x7 }
STRU  struct kevent { ident=9, filter=EVFILT_USER, flags=0x81<EV_ADD|EV_DISPATCH>, fflags=0xc0000012<NOTE_FFCOPY>, data=0, udata=0x0 }
RET   kevent 0
CALL  kevent(102,{in},1,{out},4)
STRU  struct kevent { ident=9, filter=EVFILT_USER, flags=0x0, fflags=0x1000000<NOTE_TRIGGER>, data=-4, udata=0x10 }
STRU  struct timespec { 1.000000005 }
STRU  struct kevent { ident=9, filter=EVFILT_USER, flags=0x81<EV_ADD|EV_DISPATCH>, fflags=0x12, data=-4, udata=0x10 }
RET   kevent 1
CALL  kevent(102,0x0,0,{out},4)
STRU  struct timespec { 0.000000000 }
RET   kevent 0
CALL  kevent(102,{in},3,{out},4)
STRU  struct kevent { ident=2, filter=EVFILT_USER, flags=0x2<EV_DELETE>, fflags=0x0, data=0, udata=0x0 }
STRU  struct kevent { ident=9, filter=EVFILT_USER, flags=0x48<EV_DISABLE|EV_RECEIPT>, fflags=0x40000000<NOTE_FFAND>, data=0, udata=0x0 }
STRU  struct kevent { ident=3, filter=EVFILT_LIO, flags=0x401<EV_ADD>, fflags=0x30, data=0, udata=0x0 }
STRU  struct kevent { ident=2, filter=EVFILT_USER, flags=0x4002<EV_DELETE|EV_ERROR>, fflags=0x0, data=2<ENOENT>, udata=0x0 }
STRU  struct kevent { ident=9, filter=EVFILT_USER, flags=0x4048<EV_DISABLE|EV_RECEIPT|EV_ERROR>, fflags=0x40000000<NOTE_FFAND>, data=0, udata=0x0 }
STRU  struct kevent { ident=3, filter=EVFILT_LIO, flags=0x4401<EV_ADD|EV_ERROR>, fflags=0x30, data=38<ENOSYS>, udata=0x0 }
RET   kevent 3
CALL  kevent(102,{in},1,0x0,0)
STRU  struct kevent { ident=2, filter=EVFILT_USER, flags=0x2<EV_DELETE>, fflags=0x0, data=0, udata=0x0 }
RET   kevent -1 errno 2 ENOENT
CALL  kevent(103,0x0,0,{out},4)
STRU  struct timespec { 0.000000000 }
RET   kevent -1 errno 9 EBADF
CALL  kevent(102,{in},-1,{out},4)
RET   kevent -1 errno 22 EINVAL
CALL  kevent(102,0x0,1,{out},4)
RET   kevent -1 errno 14 EFAULT
CALL  kqueue1(0xffffffff)
RET   kqueue1 -1 errno 22 EINVAL
CALL  kqueuex(0x2)
RET   kqueuex -1 errno 22 EINVAL
CALL  kevent64(102,{wide},1,0x0,0)
STRU  struct kevent { ident=9, filter=EVFILT_USER, flags=0x4<EV_ENABLE>, fflags=0x0, data=5, udata=0x20 }
RET   kevent64 0
CALL  kevent64(102,{wide},1,0x0,0)
RET   kevent64 -1 errno 22 EINVAL
";

fn trace_is_silent_unless_asked(stage: &Stage) {
    for (name, debug) in
        [("trace-unset", None), ("trace-empty", Some("")), ("trace-zero", Some("0"))]
    {
        let output = traced(stage, name, debug);
        assert!(
            output.stderr.is_empty(),
            "KQUEUE_DEBUG is {debug:?}:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
