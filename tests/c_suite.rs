//! Runs the C programs of `tests/c` against the library as it is installed.
//!
//! The suite installs into a staging directory with `make install`, asks the
//! staged `libkqueue.pc` how to build, and compiles each file of `tests/c`
//! twice: against the shared library and against the archive. Nothing else
//! of the source tree is on the compiler's or the linker's path, so a broken
//! installation fails here. The shared programs run once more with the preload
//! library (`preload::timer::case`).
//!
//! Each case (`prog --list` names them) is a trial of its own, in a process of
//! its own, because cases change signals, limits and descriptors. The trial is
//! called `shared::timer::case`. A case that takes too long is killed, with
//! all it started, and fails. Exit status 77 means that the case cannot run
//! here: it is counted as ignored, with the reason that it printed.
//!
//! With `KQUEUE_VALGRIND` set only the shared variant runs, under valgrind: an
//! invalid access or a leak fails the case.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::num::NonZero;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Long enough for a loaded machine: the cases' own waits end after 20 s.
const LIMIT: Duration = Duration::from_secs(60);
/// valgrind runs the code some thirty times slower, one thread at a time.
const LIMIT_VALGRIND: Duration = Duration::from_secs(600);

/// What a case exits with when it cannot run here (`SKIP` in common.h).
const EXIT_SKIPPED: i32 = 77;
/// What valgrind exits with when it, not the case, found an error.
const EXIT_VALGRIND: i32 = 99;

const CFLAGS: [&str; 6] = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread"];

/// The variables by which a surrounding cargo or make would reach our tools
/// or the cases: cargo's library path, for one, would win over the rpath, and
/// the library tested would not be the staged one.
const FOREIGN: [&str; 14] = [
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "DESTDIR",
    "PREFIX",
    "LIBDIR",
    "INCLUDEDIR",
    "C_INCLUDE_PATH",
    "CPATH",
    "LIBRARY_PATH",
    "PKG_CONFIG_SYSROOT_DIR",
    "KQUEUE_DEBUG",
];

/// Which of the two installed libraries a program is linked with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Shared,
    Static,
    /// The shared one, with the preload library before the C library.
    Preload,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Static => "static",
            Self::Preload => "preload",
        }
    }
}

fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command
}

/// Runs a tool to its end: its standard output, or all that it said.
fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{text}{errors}", output.status))
}

/// The staged installation.
struct Stage {
    pkgconfig: PathBuf,
    programs: PathBuf,
    cc: String,
}

impl Stage {
    /// Installs the profile that the suite itself was built in.
    fn install() -> Result<Self, String> {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        // <target>/tmp is cargo's for us; the stage lies beside it, so that
        // it follows a target directory that the caller chose.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .ok_or("the target directory has no name")?;
        let prefix = target.join("stage").join(profile);
        let programs = target.join("stage").join(format!("{profile}-programs"));
        for dir in [&prefix, &programs] {
            // What an earlier run installed must not stand in for what this
            // one fails to install.
            if dir.exists() {
                fs::remove_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            }
            fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        output_of(
            command("make")
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .env("CARGO_TARGET_DIR", target)
                .arg("install")
                .arg(format!("PROFILE={profile}"))
                .arg(format!("PREFIX={}", prefix.display())),
        )?;
        let pc = find(&prefix, OsStr::new("libkqueue.pc"))
            .ok_or_else(|| format!("no libkqueue.pc under {}", prefix.display()))?;
        let pkgconfig = pc.parent().ok_or("libkqueue.pc lies in no directory")?.to_path_buf();
        let cc = env::var("CC")
            .ok()
            .filter(|cc| !cc.trim().is_empty())
            .unwrap_or_else(|| "cc".to_owned());
        Ok(Self { pkgconfig, programs, cc })
    }

    /// What pkg-config answers when it knows the stage and nothing else.
    fn pkg_config(&self, args: &[&str]) -> Result<Vec<String>, String> {
        let text = output_of(
            command("pkg-config")
                .env("PKG_CONFIG_PATH", &self.pkgconfig)
                .env("PKG_CONFIG_LIBDIR", &self.pkgconfig)
                .args(args)
                .arg("libkqueue"),
        )?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Compiles one file of `tests/c`: the program's path.
    fn compile(&self, source: &Path, variant: Variant) -> Result<PathBuf, String> {
        let stem = source.file_stem().ok_or("a C file without a name")?;
        let program = self.programs.join(variant.name()).join(stem);
        if let Some(dir) = program.parent() {
            fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        let mut words = self.cc.split_whitespace();
        let mut cc = command(words.next().ok_or("CC is empty")?);
        cc.args(words).args(CFLAGS);
        match variant {
            Variant::Shared | Variant::Preload => {
                let libdir = self.pkg_config(&["--variable=libdir"])?.join(" ");
                cc.args(self.pkg_config(&["--cflags"])?)
                    .arg(source)
                    .args(self.pkg_config(&["--libs"])?)
                    .arg(format!("-Wl,-rpath,{libdir}"));
            }
            Variant::Static => {
                cc.args(self.pkg_config(&["--static", "--cflags"])?).arg(source);
                let mut archives = 0;
                for word in self.pkg_config(&["--static", "--libs"])? {
                    // Only this one library comes as an archive: what it
                    // needs in turn (libc, pthread) is the system's.
                    if word == "-lkqueue" {
                        archives += 1;
                        cc.arg("-l:libkqueue.a");
                    } else {
                        cc.arg(word);
                    }
                }
                if archives == 0 {
                    return Err("pkg-config --static --libs names no -lkqueue".to_owned());
                }
            }
        }
        output_of(cc.arg("-o").arg(&program))?;
        Ok(program)
    }
}

/// The first file of that name under `dir`.
fn find(dir: &Path, name: &OsStr) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        let found = if path.is_dir() {
            find(&path, name)
        } else {
            (path.file_name() == Some(name)).then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// How a case is started, and for how long it may run.
struct Runner {
    valgrind: bool,
    limit: Duration,
}

impl Runner {
    fn from_env() -> Self {
        let valgrind = env::var_os("KQUEUE_VALGRIND").is_some();
        let limit = if valgrind { LIMIT_VALGRIND } else { LIMIT };
        Self { valgrind, limit }
    }

    fn command(&self, program: &Path, preload: Option<&Path>) -> Command {
        if !self.valgrind {
            let mut command = command(program);
            if let Some(preload) = preload {
                command.env("LD_PRELOAD", preload);
            }
            return command;
        }
        let mut valgrind = command("valgrind");
        valgrind
            .arg(format!("--error-exitcode={EXIT_VALGRIND}"))
            .arg("--leak-check=full")
            .arg("--errors-for-leak-kinds=definite,possible")
            // To read what was inlined where takes a fifth of each start.
            .arg("--read-inline-info=no")
            .arg("--quiet")
            .arg(program);
        valgrind
    }

    /// Runs one case; what it printed decides what the reader gets to see.
    fn run(
        &self,
        program: &Path,
        preload: Option<&Path>,
        case: &str,
    ) -> Result<Completion, Failed> {
        // A file, not a pipe: a grandchild that outlives the case would keep
        // a pipe open, and the reader waiting.
        let mut log = tempfile::tempfile()?;
        let child = self
            .command(program, preload)
            .arg(case)
            .stdin(File::open("/dev/null")?)
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let ended = wait(child, self.limit)?;
        let mut bytes = Vec::new();
        log.rewind()?;
        log.read_to_end(&mut bytes)?;
        let said = String::from_utf8_lossy(&bytes);
        let Some(status) = ended else {
            return Err(format!("killed after {} s\n{said}", self.limit.as_secs()).into());
        };
        match status.code() {
            Some(0) => Ok(Completion::Completed),
            Some(EXIT_SKIPPED) => said
                .lines()
                .find_map(|line| line.strip_prefix("skipped: "))
                .map(Completion::ignored_with)
                .ok_or_else(|| format!("skipped without a reason\n{said}").into()),
            Some(EXIT_VALGRIND) if self.valgrind => {
                Err(format!("valgrind found errors\n{said}").into())
            }
            Some(code) => Err(format!("exit status {code}\n{said}").into()),
            None => {
                Err(format!("killed by signal {}\n{said}", status.signal().unwrap_or_default())
                    .into())
            }
        }
    }
}

/// The child's status, or None if the limit passed and it was killed.
fn wait(mut child: Child, limit: Duration) -> Result<Option<ExitStatus>, Failed> {
    let group = libc::pid_t::try_from(child.id())?;
    let (ended, end) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let status = child.wait();
        // The receiver may have given up already; nobody misses it then.
        let _ = ended.send(());
        status
    });
    let late = end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
    if late {
        // SAFETY: kill() touches no memory of ours. The number is the
        // group that the child leads since it was spawned.
        let _ = unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let status = waiter.join().map_err(|_| "the waiting thread panicked")??;
    Ok((!late).then_some(status))
}

/// A trial that only tells why there are no others.
fn broken(name: String, why: String) -> Trial {
    Trial::test(name, move || Err(why.into()))
}

/// A trial for each case of one file in one variant.
fn trials(stage: &Stage, source: &Path, variant: Variant, runner: &Arc<Runner>) -> Vec<Trial> {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    let prefix = format!("{}::{stem}", variant.name());
    let program = match stage.compile(source, variant) {
        Ok(program) => program,
        Err(why) => return vec![broken(prefix, why)],
    };
    let preload = match variant {
        Variant::Preload => match stage.pkg_config(&["--variable=preload"]) {
            Ok(path) => Some(PathBuf::from(path.join(" "))),
            Err(why) => return vec![broken(prefix, why)],
        },
        Variant::Shared | Variant::Static => None,
    };
    let names = match output_of(command(&program).arg("--list")) {
        Ok(names) => names,
        Err(why) => return vec![broken(prefix, why)],
    };
    if names.trim().is_empty() {
        return vec![broken(prefix, "the file holds no case".to_owned())];
    }
    names
        .lines()
        .map(|case| {
            let (program, runner, case) = (program.clone(), Arc::clone(runner), case.to_owned());
            let preload = preload.clone();
            Trial::ignorable_test(format!("{prefix}::{case}"), move || {
                runner.run(&program, preload.as_deref(), &case)
            })
        })
        .collect()
}

/// The C files, in the order of their names.
fn sources() -> Result<Vec<PathBuf>, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    let mut files: Vec<PathBuf> = fs::read_dir(&dir)
        .map_err(|error| format!("{}: {error}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new("c")))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("no C file in {}", dir.display()));
    }
    Ok(files)
}

fn collect(runner: &Arc<Runner>) -> Result<Vec<Trial>, String> {
    let stage = Stage::install()?;
    let sources = sources()?;
    let variants: &[Variant] = if runner.valgrind {
        &[Variant::Shared]
    } else {
        &[Variant::Shared, Variant::Static, Variant::Preload]
    };
    // A thread a variant: linking the archive takes most of the time.
    thread::scope(|scope| {
        let workers: Vec<_> = variants
            .iter()
            .map(|&variant| {
                let (stage, sources) = (&stage, &sources);
                scope.spawn(move || {
                    sources
                        .iter()
                        .flat_map(|source| trials(stage, source, variant, runner))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().map_err(|_| "a compiling thread panicked")?);
        }
        Ok(all)
    })
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    // Many cases wait more than they work.
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    args.test_threads.get_or_insert(2 * processors);
    match collect(&Arc::new(Runner::from_env())) {
        Ok(trials) => libtest_mimic::run(&args, trials).exit_code(),
        Err(why) => {
            eprintln!("the C tests cannot be built: {why}");
            ExitCode::FAILURE
        }
    }
}
