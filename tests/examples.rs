//! The programs of `examples`, compiled as a user would and driven from
//! outside: services that crash, logs that are rotated, pages that change.
//!
//! Each is built against the library as `make install` leaves it, under a
//! strict standard, with each compiler there is, from functions alone that
//! FreeBSD, NetBSD, OpenBSD and macOS have, too. What cannot run here, for
//! want of a compiler or of logrotate, is listed as ignored.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;
#[path = "examples/follow.rs"]
mod follow;
#[path = "examples/httpd.rs"]
mod httpd;
#[path = "examples/program.rs"]
mod program;
#[path = "examples/supervise.rs"]
mod supervise;

use common::{make, run, variable};
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A trial: its name, and what it does.
type Case = (&'static str, fn(&Stage));

const EXAMPLES: [&str; 3] = ["follow", "httpd", "supervise"];
const COMPILERS: [&str; 2] = ["gcc", "clang"];

/// Under a strict standard glibc hides what is not ISO C unless it is asked;
/// the BSDs do not, and do not know the macro.
const STRICT: [&str; 7] =
    ["-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"];

/// Headers that are on all four systems.
const HEADERS: &str = "ctype err errno fcntl netdb netinet/in netinet/tcp signal stdarg stdint \
    stdio stdlib string strings sys/event sys/queue sys/resource sys/socket sys/stat sys/time \
    sys/types sys/uio sys/wait time unistd";

/// Functions and objects that are on all four systems.
const FUNCTIONS: &str = "_exit accept bind calloc clock_gettime close dup2 err errx execl exit \
    fclose fcntl ferror fflush fopen fork fprintf free freeaddrinfo fstat fputc fputs fwrite \
    gai_strerror getaddrinfo getline getnameinfo getopt getrlimit getsockname gmtime_r isatty \
    isspace kevent kill kqueue listen lseek lstat malloc memchr memcpy memmove memset open openat \
    optarg optind pipe pread printf putchar puts read setpgid setsockopt setvbuf shutdown \
    sigemptyset signal sigprocmask snprintf socket stat stderr stdout strcasecmp strchr strcmp \
    strcspn strdup strerror strftime strlen strncasecmp strncmp strndup strrchr strsep strsignal \
    strspn strtol time vsnprintf waitpid warn warnx write writev";

/// What the C library and the compiler put in on their own.
const INTERNAL: [&str; 8] = [
    "_GLOBAL_OFFSET_TABLE_",
    "_ITM_deregisterTMCloneTable",
    "_ITM_registerTMCloneTable",
    "__ctype_b_loc",
    "__cxa_finalize",
    "__errno_location",
    "__gmon_start__",
    "__libc_start_main",
];

fn main() {
    let arguments = Arguments::from_args();
    let dir = tempfile::tempdir().expect("directory");
    let stage = Stage { dir: dir.path().to_owned() };
    let mut trials = vec![stage.trial("uses_what_the_bsds_have", uses_what_the_bsds_have)];
    for compiler in COMPILERS {
        trials.push(stage.compiles_cleanly(compiler));
    }
    trials.extend(supervise::trials(&stage));
    trials.extend(follow::trials(&stage));
    trials.extend(httpd::trials(&stage));
    // Only a run of all, or of some: listing builds nothing.
    if !arguments.list {
        stage.build();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // exit() runs no destructor.
    dir.close().expect("directory removed");
    conclusion.exit();
}

/// Where the library is installed, the examples are built, and trials have
/// their directories.
#[derive(Clone)]
struct Stage {
    dir: PathBuf,
}

impl Stage {
    fn build(&self) {
        let prefix = self.dir.join("prefix");
        make("install", &[variable("PREFIX", &prefix)]);
        for example in EXAMPLES {
            run(self
                .compile("cc", example)
                .arg(format!("-Wl,-rpath,{}", prefix.join("lib").display()))
                .arg("-o")
                .arg(self.dir.join(example)));
        }
    }

    /// A compiler's command line for one example, but for what it writes.
    fn compile(&self, compiler: &str, example: &str) -> Command {
        let flags = run(Command::new("pkg-config")
            .env("PKG_CONFIG_LIBDIR", self.dir.join("prefix/lib/pkgconfig"))
            .env_remove("PKG_CONFIG_PATH")
            .env_remove("PKG_CONFIG_SYSROOT_DIR")
            .args(["--cflags", "--libs", "libkqueue"]));
        let mut command = Command::new(compiler);
        command.args(["-g", "-O1"]).args(STRICT).arg(source(example));
        command.args(flags.split_whitespace());
        command
    }

    fn program(&self, example: &str) -> Command {
        let mut command = Command::new(self.dir.join(example));
        command.env_remove("LD_LIBRARY_PATH").env_remove("LD_PRELOAD").env_remove("KQUEUE_DEBUG");
        command
    }

    fn trial(&self, name: &str, test: fn(&Stage)) -> Trial {
        let stage = self.clone();
        Trial::test(name, move || {
            test(&stage);
            Ok(())
        })
    }

    /// A trial that is listed as ignored, with the reason, without the tool.
    fn trial_with(&self, tool: &'static str, name: &str, test: fn(&Stage)) -> Trial {
        let present = present(tool);
        let stage = self.clone();
        let trial = Trial::test(name, move || {
            if !present {
                // Asked for with --ignored or --include-ignored.
                return Err(Failed::from(format!("{tool} is not installed")));
            }
            test(&stage);
            Ok(())
        });
        if present { trial } else { trial.with_kind(format!("no {tool}")).with_ignored_flag(true) }
    }

    fn compiles_cleanly(&self, compiler: &'static str) -> Trial {
        let test = match compiler {
            "gcc" => |stage: &Stage| stage.check("gcc"),
            _ => |stage: &Stage| stage.check("clang"),
        };
        self.trial_with(compiler, &format!("compiles_cleanly::{compiler}"), test)
    }

    fn check(&self, compiler: &str) {
        for example in EXAMPLES {
            // Some warnings come from the optimiser alone.
            let object = self.dir.join(format!("{example}-{compiler}"));
            run(self.compile(compiler, example).arg("-O2").arg("-o").arg(object));
        }
    }
}

fn source(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{example}.c"))
}

/// A command by its name; Debian keeps some where only root looks.
fn present(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    path.split(':').any(|dir| Path::new(dir).join(tool).exists())
}

fn uses_what_the_bsds_have(stage: &Stage) {
    for example in EXAMPLES {
        let text = fs::read_to_string(source(example)).expect("source");
        assert!(!text.contains("_SOURCE"), "{example}: asks for more than the default");
        for line in text.lines().filter_map(|line| line.strip_prefix("#include ")) {
            let header = line.trim_matches(['<', '>']).trim_end_matches(".h");
            assert!(HEADERS.split_whitespace().any(|known| known == header), "{example}: {line}");
        }
        let said = run(Command::new("nm")
            .env("LC_ALL", "C")
            .args(["-P", "-D", "--undefined-only"])
            .arg(stage.dir.join(example)));
        let used: Vec<_> = said
            .lines()
            .filter_map(|line| line.split([' ', '@']).next())
            // The same functions, under the names of checking variants.
            .map(|name| name.trim_start_matches("__isoc99_").trim_start_matches("__isoc23_"))
            .filter(|name| !INTERNAL.contains(name))
            .collect();
        assert!(used.contains(&"kevent"), "{example}: nm says {said}");
        let strange: Vec<_> =
            used.iter().filter(|name| !FUNCTIONS.split_whitespace().any(|f| f == **name)).collect();
        assert!(strange.is_empty(), "{example} uses {strange:?}");
    }
}
