//! `make install` and `make uninstall`, as a packager and a user of the package
//! see them: what lands where, and that pkg-config alone is enough to build
//! against it, shared and static.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{make, run, variable};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the installed file: only major and minor are in it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A program that needs the header, the library and a working queue.
const PROGRAM: &str = r#"
#include <sys/event.h>
#include <stdio.h>
#include <unistd.h>

int
main(void)
{
	struct kevent kev[2], got;
	int kq = kqueue();

	EV_SET(&kev[0], 7, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, &kq);
	EV_SET(&kev[1], 7, EVFILT_USER, 0, NOTE_TRIGGER, 0, &kq);
	if (kq == -1 || kevent(kq, kev, 2, &got, 1, NULL) != 1)
		return (1);
	if (got.ident != 7 || got.filter != EVFILT_USER || got.udata != &kq)
		return (2);
	puts("one user event");
	return (close(kq) == 0 ? 0 : 3);
}
"#;

/// A plugin that leaves a queue, and a thread that waits in it.
const PLUGIN: &str = r#"
#include <sys/event.h>
#include <pthread.h>
#include <signal.h>

static int kq;
static pthread_t thread;

static void *
wait(void *told)
{
	static struct kevent got;
	*(int *)told = kevent(kq, NULL, 0, &got, 1, NULL);
	return (told);
}

int
start(int fd, int *told)
{
	struct kevent kev[3];

	EV_SET(&kev[0], fd, EVFILT_READ, EV_ADD, 0, 0, 0);
	EV_SET(&kev[1], SIGUSR1, EVFILT_SIGNAL, EV_ADD | EV_DISABLE, 0, 0, 0);
	EV_SET(&kev[2], 1, EVFILT_TIMER, EV_ADD, 0, 3600000, 0);
	kq = kqueue();
	if (kq == -1 || kevent(kq, kev, 3, 0, 0, 0) != 0)
		return (1);
	return (pthread_create(&thread, NULL, wait, told));
}

int
end(void)
{
	return (pthread_join(thread, NULL));
}
"#;

/// Lets it go while the thread waits; signals come, and a child is forked.
const HOST: &str = r#"
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	int fds[2], told = 0, status;
	void *plugin = dlopen(argv[1], RTLD_NOW);
	int (*start)(int, int *), (*end)(void);

	if (argc != 2 || plugin == NULL || pipe(fds) == -1)
		return (1);
	*(void **)&start = dlsym(plugin, "start");
	*(void **)&end = dlsym(plugin, "end");
	signal(SIGUSR1, SIG_IGN);
	if (start(fds[0], &told) != 0 || dlclose(plugin) != 0)
		return (2);
	raise(SIGUSR1);
	if (fork() == 0)
		return (0);
	if (wait(&status) == -1 || status != 0)
		return (3);
	if (write(fds[1], "x", 1) != 1 || end() != 0 || told != 1)
		return (4);
	plugin = dlopen(argv[1], RTLD_NOW);
	if (plugin == NULL || dlclose(plugin) != 0)
		return (5);
	puts("still there");
	return (0);
}
"#;

/// Has the library by dlopen() alone, and lets it go with queues open, knotes of
/// every kind in them, and a thread that waits. What happens then is told by the
/// library opened again.
const OPENER: &str = r#"
#include <sys/event.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(holds)                                                          \
	do {                                                                  \
		if (!(holds)) {                                               \
			fprintf(stderr, "%d: %s\n", __LINE__, #holds);        \
			exit(1);                                              \
		}                                                             \
	} while (0)

static int (*make)(void);
static int (*call)(int, const struct kevent *, int, struct kevent *, int,
    const struct timespec *);
static int parked;

static void *
get(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	CHECK(library != NULL);
	*(void **)&make = dlsym(library, "kqueue");
	*(void **)&call = dlsym(library, "kevent");
	CHECK(make != NULL && call != NULL);
	return (library);
}

static void
change(int kq, uintptr_t ident, int filter, int flags, unsigned fflags, int data)
{
	struct kevent k;
	EV_SET(&k, ident, filter, flags, fflags, data, NULL);
	CHECK(call(kq, &k, 1, NULL, 0, NULL) == 0);
}

static void *
wait_there(void *unused)
{
	struct kevent k;
	CHECK(call(parked, NULL, 0, &k, 1, NULL) == 1 && k.data == 1);
	return (unused);
}

/* One event of each of these filters must come. */
static void
expect(int kq, unsigned filters)
{
	while (filters != 0) {
		struct timespec generous = {20, 0};
		struct kevent k;
		CHECK(call(kq, NULL, 0, &k, 1, &generous) == 1);
		CHECK(k.filter != EVFILT_SIGNAL || k.data == 1);
		filters &= ~(1u << -k.filter);
	}
}

#define ALL                                                                   \
	(1u << -EVFILT_SIGNAL | 1u << -EVFILT_TIMER | 1u << -EVFILT_VNODE |   \
	    1u << -EVFILT_PROC | 1u << -EVFILT_READ | 1u << -EVFILT_WRITE)

int
main(int argc, char **argv)
{
	char path[] = "/tmp/kqueue-test-XXXXXX";
	int kq, fds[2], others[2], file, status;
	pthread_t thread;
	void *library;
	pid_t child, forked;

	CHECK(argc == 2 && pipe(fds) == 0 && pipe(others) == 0);
	CHECK((file = mkstemp(path)) >= 0 && unlink(path) == 0);
	CHECK((child = fork()) >= 0);
	if (child == 0) {
		pause();
		_exit(0);
	}
	CHECK(dlsym(RTLD_DEFAULT, "kqueue") == NULL);
	library = get(argv[1]);
	signal(SIGUSR1, SIG_IGN);
	kq = make();
	change(kq, fds[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0);
	change(kq, fds[1], EVFILT_WRITE, EV_ADD | EV_CLEAR, 0, 0);
	change(kq, 1, EVFILT_TIMER, EV_ADD, 0, 5);
	change(kq, file, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_EXTEND, 0);
	change(kq, SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0);
	change(kq, child, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0);
	change(kq, 0, EVFILT_FS, EV_ADD, 0, 0);
	parked = make();
	change(parked, others[0], EVFILT_READ, EV_ADD, 0, 0);
	CHECK(pthread_create(&thread, NULL, wait_there, NULL) == 0);
	CHECK(dlclose(library) == 0);

	CHECK(raise(SIGUSR1) == 0);
	CHECK((forked = fork()) >= 0);
	if (forked == 0)
		return (raise(SIGUSR1));
	CHECK(waitpid(forked, &status, 0) == forked && status == 0);
	CHECK(write(fds[1], "x", 1) == 1 && ftruncate(file, 5) == 0);
	CHECK(kill(child, SIGKILL) == 0);

	library = get(argv[1]);
	expect(kq, ALL);
	CHECK(write(others[1], "x", 1) == 1);
	CHECK(pthread_join(thread, NULL) == 0);
	kq = make();
	change(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0);
	change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0);
	expect(kq, 1u << -EVFILT_USER);
	CHECK(dlclose(library) == 0);
	CHECK(raise(SIGUSR1) == 0);
	puts("still there");
	return (0);
}
"#;

/// Every file and link below `root`, as paths relative to it.
fn files(root: &Path) -> BTreeSet<String> {
    fn walk(dir: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("entry").path();
            if path.symlink_metadata().expect("metadata").is_dir() {
                walk(&path, root, found);
            } else {
                let relative = path.strip_prefix(root).expect("below root");
                found.insert(relative.display().to_string());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(root, root, &mut found);
    found
}

fn real_name() -> String {
    let minor = VERSION.rsplit_once('.').expect("three numbers").0;
    format!("libkqueue.so.0.{minor}")
}

fn expected(lib: &str, include: &str) -> BTreeSet<String> {
    BTreeSet::from([
        format!("{lib}/{}", real_name()),
        format!("{lib}/libkqueue.so.0"),
        format!("{lib}/libkqueue.so"),
        format!("{lib}/libkqueue.a"),
        format!("{lib}/libkqueue-preload.so"),
        format!("{lib}/pkgconfig/libkqueue.pc"),
        format!("{include}/kqueue/sys/event.h"),
    ])
}

/// pkg-config that knows `pcdir` and nothing else.
fn pkg_config(pcdir: &Path, sysroot: Option<&Path>, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_LIBDIR", pcdir).env_remove("PKG_CONFIG_PATH");
    match sysroot {
        Some(dir) => command.env("PKG_CONFIG_SYSROOT_DIR", dir),
        None => command.env_remove("PKG_CONFIG_SYSROOT_DIR"),
    };
    let said = run(command.args(args).arg("libkqueue"));
    said.split_whitespace().map(str::to_owned).collect()
}

/// Compiles `PROGRAM` with these flags and no others.
fn compile(dir: &Path, name: &str, first: &[&str], flags: &[String]) -> PathBuf {
    let source = dir.join("program.c");
    let program = dir.join(name);
    fs::write(&source, PROGRAM).expect("source written");
    run(Command::new("cc").args(first).arg("-o").arg(&program).arg(&source).args(flags));
    program
}

/// The `NEEDED` and `SONAME` lines of an ELF file.
fn dynamic(path: &Path) -> String {
    run(Command::new("readelf").arg("-d").arg(path))
}

#[test]
fn install_puts_exactly_these_files_and_uninstall_takes_them_away() {
    let dir = tempfile::tempdir().expect("directory");
    let prefix = dir.path().join("prefix");
    let here = [variable("PREFIX", &prefix)];
    make("install", &here);
    assert_eq!(files(&prefix), expected("lib", "include"));

    let lib = prefix.join("lib");
    assert_eq!(fs::read_link(lib.join("libkqueue.so")).unwrap(), Path::new("libkqueue.so.0"));
    assert_eq!(fs::read_link(lib.join("libkqueue.so.0")).unwrap(), Path::new(&real_name()));
    let soname = dynamic(&lib.join(real_name()));
    assert!(soname.contains("Library soname: [libkqueue.so.0]"), "{soname}");
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/sys/event.h");
    assert_eq!(
        fs::read(prefix.join("include/kqueue/sys/event.h")).unwrap(),
        fs::read(header).unwrap(),
    );

    // Over itself, as an upgrade does.
    make("install", &here);
    assert_eq!(files(&prefix), expected("lib", "include"));

    // A neighbour that is not ours stays, and so does its directory.
    let neighbours = ["lib/libkqueue.so.0.99.0", "include/kqueue/other.h"];
    for neighbour in neighbours {
        fs::write(prefix.join(neighbour), "").expect("neighbour written");
    }
    make("uninstall", &here);
    assert_eq!(files(&prefix), neighbours.map(str::to_owned).into());

    for neighbour in neighbours {
        fs::remove_file(prefix.join(neighbour)).expect("neighbour removed");
    }
    make("uninstall", &here);
    assert_eq!(files(&prefix), BTreeSet::new());
    assert!(!prefix.join("include/kqueue").exists(), "an empty directory of ours is left");
}

#[test]
fn pkg_config_alone_builds_a_shared_and_a_static_program() {
    let dir = tempfile::tempdir().expect("directory");
    let prefix = dir.path().join("prefix");
    let lib = prefix.join("lib");
    let pcdir = lib.join("pkgconfig");
    make("install", &[variable("PREFIX", &prefix)]);

    assert_eq!(pkg_config(&pcdir, None, &["--modversion"]), [VERSION]);
    // What programs ask of libkqueue today.
    pkg_config(&pcdir, None, &["--atleast-version=2.3"]);

    let flags = pkg_config(&pcdir, None, &["--cflags", "--libs"]);
    let shared = compile(dir.path(), "shared", &[], &flags);
    assert!(dynamic(&shared).contains("[libkqueue.so.0]"), "the shared program is not");
    let said = run(Command::new(&shared).env("LD_LIBRARY_PATH", &lib));
    assert_eq!(said, "one user event\n");

    let preload = pkg_config(&pcdir, None, &["--variable=preload"]);
    let expected = lib.join("libkqueue-preload.so").display().to_string();
    assert_eq!(preload, core::slice::from_ref(&expected));
    let said = run(Command::new(&shared).env("LD_LIBRARY_PATH", &lib).env("LD_PRELOAD", expected));
    assert_eq!(said, "one user event\n");

    let flags = pkg_config(&pcdir, None, &["--static", "--cflags", "--libs"]);
    let linked = compile(dir.path(), "static", &["-static"], &flags);
    assert!(!dynamic(&linked).contains("NEEDED"), "the static program needs a library");
    assert_eq!(run(&mut Command::new(&linked)), "one user event\n");

    // The archive in an otherwise shared program: named by its path.
    let mut flags = pkg_config(&pcdir, None, &["--cflags"]);
    flags.push(lib.join("libkqueue.a").display().to_string());
    flags.extend(
        pkg_config(&pcdir, None, &["--static", "--libs"])
            .into_iter()
            .filter(|flag| flag != "-lkqueue"),
    );
    let mixed = compile(dir.path(), "mixed", &[], &flags);
    assert!(!dynamic(&mixed).contains("libkqueue"), "the archive was not taken");
    assert_eq!(run(&mut Command::new(&mixed)), "one user event\n");
}

#[test]
fn destdir_libdir_and_includedir_are_honoured() {
    let dir = tempfile::tempdir().expect("directory");
    // A space, which a packager's build directory may well have.
    let root = dir.path().join("stage root");
    let variables = [
        variable("DESTDIR", &root),
        "PREFIX=/opt/kq".to_owned(),
        "LIBDIR=/opt/kq/lib64".to_owned(),
        "INCLUDEDIR=/opt/headers".to_owned(),
    ];
    make("install", &variables);
    assert_eq!(files(&root), expected("opt/kq/lib64", "opt/headers"));

    // The file tells of the final place, and moves with the prefix.
    let pcdir = root.join("opt/kq/lib64/pkgconfig");
    let pc = fs::read_to_string(pcdir.join("libkqueue.pc")).unwrap();
    assert!(pc.contains("prefix=/opt/kq\n"), "{pc}");
    assert!(pc.contains("libdir=${prefix}/lib64\n"), "{pc}");
    assert!(pc.contains("includedir=/opt/headers\n"), "{pc}");
    assert!(!pc.contains('@') && !pc.contains("stage"), "{pc}");

    make("uninstall", &variables);
    assert_eq!(files(&root), BTreeSet::new());

    // Built against where it is staged, by the sysroot rule of pkg-config.
    let root = dir.path().join("sysroot");
    make("install", &[variable("DESTDIR", &root), "PREFIX=/opt/kq".to_owned()]);
    let pcdir = root.join("opt/kq/lib/pkgconfig");
    let flags = pkg_config(&pcdir, Some(&root), &["--cflags", "--libs"]);
    let program = compile(dir.path(), "staged", &[], &flags);
    let said = run(Command::new(&program).env("LD_LIBRARY_PATH", root.join("opt/kq/lib")));
    assert_eq!(said, "one user event\n");
}

#[test]
fn plugin_with_the_archive_in_it_may_be_closed() {
    let dir = tempfile::tempdir().expect("directory");
    let prefix = dir.path().join("prefix");
    let lib = prefix.join("lib");
    make("install", &[variable("PREFIX", &prefix)]);
    let pcdir = lib.join("pkgconfig");
    let cflags = pkg_config(&pcdir, None, &["--cflags"]);
    let libs = pkg_config(&pcdir, None, &["--static", "--libs"]);

    let source = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("source written");
        path
    };
    let plugin = dir.path().join("plugin.so");
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .arg(&plugin)
        .arg(source("plugin.c", PLUGIN))
        .args(cflags)
        .arg(lib.join("libkqueue.a"))
        .args(libs.iter().filter(|flag| *flag != "-lkqueue")));
    assert!(!dynamic(&plugin).contains("libkqueue"), "the archive was not taken");
    let host = dir.path().join("host");
    run(Command::new("cc").arg("-o").arg(&host).arg(source("host.c", HOST)).arg("-ldl"));
    for _ in 0..3 {
        assert_eq!(run(Command::new(&host).arg(&plugin)), "still there\n");
    }
}

#[test]
fn library_that_dlopen_alone_brought_may_be_closed() {
    let dir = tempfile::tempdir().expect("directory");
    let prefix = dir.path().join("prefix");
    let lib = prefix.join("lib");
    make("install", &[variable("PREFIX", &prefix)]);
    let pcdir = lib.join("pkgconfig");
    let cflags = pkg_config(&pcdir, None, &["--cflags"]);
    let libs = pkg_config(&pcdir, None, &["--static", "--libs"]);

    let source = dir.path().join("opener.c");
    fs::write(&source, OPENER).expect("source written");
    let opener = dir.path().join("opener");
    run(Command::new("cc")
        .args(["-pthread", "-o"])
        .arg(&opener)
        .args(&cflags)
        .arg(&source)
        .args(["-ldl", "-pthread"]));
    assert!(!dynamic(&opener).contains("libkqueue"), "the program is linked to it");

    // The archive in a plugin is another way to have it.
    let source = dir.path().join("plugin.c");
    fs::write(&source, PLUGIN).expect("source written");
    let plugin = dir.path().join("plugin.so");
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .arg(&plugin)
        .args(&cflags)
        .arg(&source)
        .arg(lib.join("libkqueue.a"))
        .args(libs.iter().filter(|flag| *flag != "-lkqueue")));

    let preload = lib.join("libkqueue-preload.so");
    for opened in [lib.join("libkqueue.so.0"), plugin] {
        for _ in 0..3 {
            assert_eq!(run(Command::new(&opener).arg(&opened)), "still there\n");
        }
        let said = run(Command::new(&opener).arg(&opened).env("LD_PRELOAD", &preload));
        assert_eq!(said, "still there\n");
    }
}
