//! `follow`: what is appended, once and in order, while files are renamed,
//! cut off, removed and made again, by hand and by the real logrotate.

use crate::program::{Program, directory, until};
use crate::{Case, Stage};
use libtest_mimic::Trial;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn trials(stage: &Stage) -> Vec<Trial> {
    let all: [Case; 23] = [
        ("help", help),
        ("last_lines", last_lines),
        ("appended", appended),
        ("large_and_small", large_and_small),
        ("truncated", truncated),
        ("renamed_and_made_again", renamed_and_made_again),
        ("removed_and_made_again", removed_and_made_again),
        ("replaced_by_rename", replaced_by_rename),
        ("renamed_and_put_back", renamed_and_put_back),
        ("not_there_yet", not_there_yet),
        ("directory_removed_and_made_again", directory_removed_and_made_again),
        ("directory_renamed_and_made_again", directory_renamed_and_made_again),
        ("link_that_moves", link_that_moves),
        ("several_files_have_headers", several_files_have_headers),
        ("rotated_into_a_followed_name", rotated_into_a_followed_name),
        ("old_files_are_closed", old_files_are_closed),
        ("hundred_files", hundred_files),
        ("halves_of_lines", halves_of_lines),
        ("half_of_a_line_is_not_waited_for_long", half_of_a_line_is_not_waited_for_long),
        ("bursts_under_rotation", bursts_under_rotation),
        ("ends_at_signals", ends_at_signals),
        ("ends_though_nobody_reads", ends_though_nobody_reads),
        ("turns_end_between_lines", turns_end_between_lines),
    ];
    let mut trials: Vec<_> =
        all.into_iter().map(|(name, test)| stage.trial(&format!("follow::{name}"), test)).collect();
    for (name, test) in [
        ("follow::logrotate_create", logrotate_create as fn(&Stage)),
        ("follow::logrotate_copytruncate", logrotate_copytruncate),
    ] {
        trials.push(stage.trial_with("logrotate", name, test));
    }
    trials
}

/// A follower of files in a directory of its own.
struct Follower {
    program: Program,
    dir: PathBuf,
}

impl Follower {
    fn start(stage: &Stage, dir: &Path, arguments: &[&str]) -> Follower {
        let program = Program::start(stage.program("follow").args(arguments), dir);
        Follower { program, dir: dir.to_owned() }
    }

    fn said(&self, text: &str) -> usize {
        self.program.err().matches(text).count()
    }

    /// Waits until something was said at least so often.
    #[track_caller]
    fn until_said(&self, text: &str, times: usize) {
        self.program.until(&format!("{times} times {text}"), |_| self.said(text) >= times);
    }

    /// It printed this and prints nothing else: not even as it ends.
    #[track_caller]
    fn ends_having_printed(&mut self, wanted: &str) {
        self.program.until_out(wanted);
        self.program.stops(libc::SIGTERM);
        assert_eq!(self.program.out(), wanted);
    }

    /// Waits until it has the file open, and its offset is the size.
    #[track_caller]
    fn until_at_end_of(&self, name: &str) {
        let path = self.path(name).canonicalize().expect("a file");
        let size = fs::metadata(&path).expect("a file").size();
        let proc = PathBuf::from(format!("/proc/{}", self.program.pid()));
        let at_end = |fd: fs::DirEntry| {
            if fs::read_link(fd.path()).ok()? != path {
                return None;
            }
            let info = fs::read_to_string(proc.join("fdinfo").join(fd.file_name())).ok()?;
            let offset: u64 = info.lines().next()?.strip_prefix("pos:")?.trim().parse().ok()?;
            (offset == size).then_some(())
        };
        self.program.until(&format!("it is at the end of {name}"), |_| {
            fs::read_dir(proc.join("fd")).expect("fds").flatten().any(|fd| at_end(fd).is_some())
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// As a program that logs has it.
fn open(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("opened")
}

fn write(file: &mut File, text: &str) {
    file.write_all(text.as_bytes()).expect("written");
}

fn append(path: &Path, text: &str) {
    write(&mut open(path), text);
}

const FOLLOWS: &str = "follows what is there now";
const GONE: &str = "No such file";
const SHORTER: &str = "became shorter";

fn help(stage: &Stage) {
    let dir = directory(stage);
    let mut follower = Follower::start(stage, &dir, &["-h"]);
    follower.program.ends_well();
    assert!(follower.program.out().starts_with("usage: follow "));
    let mut follower = Follower::start(stage, &dir, &[]);
    assert_eq!(follower.program.wait().code(), Some(1));
    assert!(follower.program.err().starts_with("usage: follow "));
    assert_eq!(follower.program.out(), "");
}

fn last_lines(stage: &Stage) {
    let numbered: String = (1..=15).map(|n| format!("line {n}\n")).collect();
    // Longer than any block that it may read backwards by.
    let long: String = (1..=4).map(|n| format!("{n}{}\n", "x".repeat(70_000))).collect();
    let cases: [(&str, &[&str], usize); 11] = [
        (&numbered, &[], 10),
        (&numbered, &["-n", "3"], 3),
        (&numbered, &["-n", "0"], 0),
        (&numbered, &["-n", "15"], 15),
        (&numbered, &["-n", "99"], 15),
        (&long, &["-n", "2"], 2),
        (&long, &["-n", "4"], 4),
        ("no newline", &[], 1),
        ("one\ntwo\nno newline", &["-n", "2"], 2),
        ("\n\n\n\n", &["-n", "2"], 2),
        ("", &[], 0),
    ];
    for (text, options, lines) in cases {
        let dir = directory(stage);
        append(&dir.join("log"), text);
        let arguments: Vec<_> = options.iter().copied().chain(["log"]).collect();
        let mut follower = Follower::start(stage, &dir, &arguments);
        let all: Vec<_> = text.split_inclusive('\n').collect();
        let wanted = all[all.len() - lines..].concat();
        follower.program.until_out(&wanted);
        if wanted.is_empty() {
            // Then only its descriptor shows that it is there, and where.
            follower.until_at_end_of("log");
        }
        append(&follower.path("log"), "appended\n");
        follower.ends_having_printed(&(wanted + "appended\n"));
    }
}

fn appended(stage: &Stage) {
    let dir = directory(stage);
    append(&dir.join("log"), "old\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "old\n".to_owned();
    for round in 0..50 {
        // In pieces: what is no line yet is shown, too.
        for piece in [format!("round {round}"), " and".to_owned(), " the end\n".to_owned()] {
            append(&follower.path("log"), &piece);
            wanted += &piece;
            follower.program.until_out(&wanted);
        }
    }
    assert_eq!(follower.program.err(), "");
    follower.ends_having_printed(&wanted);
}

/// One file is so large that the other must get its turn before it is out.
fn large_and_small(stage: &Stage) {
    let dir = directory(stage);
    let line = format!("{}\n", "x".repeat(1023));
    append(&dir.join("large"), &line.repeat(32 * 1024));
    append(&dir.join("small"), "small\n");
    let arguments = ["-n", "1000000", "large", "small"];
    let mut follower = Follower::start(stage, &dir, &arguments);
    let count = |out: &str| (out.matches(&line).count(), out.matches("small\n").count());
    follower.program.until("all of both", |program| count(&program.out()) == (32 * 1024, 1));
    follower.program.stops(libc::SIGTERM);
    assert_eq!(count(&follower.program.out()), (32 * 1024, 1));
}

fn truncated(stage: &Stage) {
    let dir = directory(stage);
    let mut log = open(&dir.join("log"));
    write(&mut log, "a line that is long enough\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "a line that is long enough\n".to_owned();
    follower.program.until_out(&wanted);
    for round in 1..=20 {
        let shorter = follower.said(SHORTER);
        log.set_len(0).expect("truncated");
        // From here on even more than there was is not taken for the old.
        follower.until_said(SHORTER, shorter + 1);
        let text = format!("after {round}\n").repeat(round);
        write(&mut log, &text);
        wanted += &text;
        follower.program.until_out(&wanted);
    }
    // Not to nothing: what is left is new, for all that one can know.
    log.set_len(6).expect("truncated");
    wanted += "after ";
    follower.program.until_out(&wanted);
    // Opened with O_TRUNC, and by then shorter.
    fs::write(follower.path("log"), "new\n").expect("written");
    wanted += "new\n";
    follower.ends_having_printed(&wanted);
}

fn renamed_and_made_again(stage: &Stage) {
    let dir = directory(stage);
    let mut log = open(&dir.join("log"));
    write(&mut log, "first\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "first\n".to_owned();
    follower.program.until_out(&wanted);
    for round in 1..=20 {
        let old = follower.path(&format!("log.{round}"));
        fs::rename(follower.path("log"), &old).expect("renamed");
        // The writer has not noticed.
        write(&mut log, &format!("{round}: to the old one\n"));
        let mut new = open(&follower.path("log"));
        write(&mut new, &format!("{round}: to the new one\n"));
        write!(wanted, "{round}: to the old one\n{round}: to the new one\n").expect("text");
        follower.program.until_out(&wanted);
        // Another still writes to the old one.
        write(&mut log, &format!("{round}: late\n"));
        writeln!(wanted, "{round}: late").expect("text");
        follower.program.until_out(&wanted);
        log = new;
    }
    follower.ends_having_printed(&wanted);
}

fn removed_and_made_again(stage: &Stage) {
    let dir = directory(stage);
    let mut log = open(&dir.join("log"));
    write(&mut log, "first\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "first\n".to_owned();
    follower.program.until_out(&wanted);
    for round in 1..=20 {
        let missed = follower.said(GONE);
        fs::remove_file(follower.path("log")).expect("removed");
        if round % 2 == 0 {
            follower.until_said(GONE, missed + 1);
        }
        write(&mut log, &format!("{round}: to what is gone\n"));
        log = open(&follower.path("log"));
        write(&mut log, &format!("{round}: to the new one\n"));
        write!(wanted, "{round}: to what is gone\n{round}: to the new one\n").expect("text");
        follower.program.until_out(&wanted);
    }
    follower.ends_having_printed(&wanted);
}

fn replaced_by_rename(stage: &Stage) {
    let dir = directory(stage);
    append(&dir.join("log"), "first\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "first\n".to_owned();
    follower.program.until_out(&wanted);
    for round in 1..=20 {
        let text = format!("{round}: all new\n");
        append(&follower.path("next"), &text);
        fs::rename(follower.path("next"), follower.path("log")).expect("renamed");
        wanted += &text;
        follower.program.until_out(&wanted);
    }
    follower.ends_having_printed(&wanted);
}

fn renamed_and_put_back(stage: &Stage) {
    let dir = directory(stage);
    let mut log = open(&dir.join("log"));
    write(&mut log, "first\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "first\n".to_owned();
    follower.program.until_out(&wanted);
    for round in 1..=10 {
        let missed = follower.said(GONE);
        fs::rename(follower.path("log"), follower.path("aside")).expect("renamed");
        if round % 2 == 0 {
            // Another takes its place, and makes way again.
            append(&follower.path("log"), "between\n");
            wanted += "between\n";
            follower.program.until_out(&wanted);
        } else {
            follower.until_said(GONE, missed + 1);
        }
        fs::rename(follower.path("aside"), follower.path("log")).expect("renamed");
        write(&mut log, &format!("{round}: back\n"));
        writeln!(wanted, "{round}: back").expect("text");
        follower.program.until_out(&wanted);
    }
    follower.ends_having_printed(&wanted);
}

fn not_there_yet(stage: &Stage) {
    let dir = directory(stage);
    let mut follower = Follower::start(stage, &dir, &["log", "sub/log"]);
    follower.until_said(GONE, 2);
    append(&follower.path("log"), "one\ntwo\n");
    let mut wanted = "==> log <==\none\ntwo\n".to_owned();
    follower.program.until_out(&wanted);
    // Its directory was not there, either.
    fs::create_dir(follower.path("sub")).expect("directory");
    append(&follower.path("sub/log"), "three\n");
    wanted += "\n==> sub/log <==\nthree\n";
    follower.program.until_out(&wanted);
    append(&follower.path("sub/log"), "four\n");
    follower.ends_having_printed(&(wanted + "four\n"));
}

fn directory_removed_and_made_again(stage: &Stage) {
    let dir = directory(stage);
    fs::create_dir(dir.join("sub")).expect("directory");
    append(&dir.join("sub/log"), "first\n");
    let mut follower = Follower::start(stage, &dir, &["sub/log"]);
    let mut wanted = "first\n".to_owned();
    follower.program.until_out(&wanted);
    for round in 1..=3 {
        fs::remove_dir_all(follower.path("sub")).expect("removed");
        follower.until_said(GONE, round);
        fs::create_dir(follower.path("sub")).expect("directory");
        append(&follower.path("sub/log"), &format!("{round}\n"));
        writeln!(wanted, "{round}").expect("text");
        follower.program.until_out(&wanted);
    }
    follower.ends_having_printed(&wanted);
}

fn directory_renamed_and_made_again(stage: &Stage) {
    let dir = directory(stage);
    fs::create_dir(dir.join("sub")).expect("directory");
    let mut log = open(&dir.join("sub/log"));
    write(&mut log, "first\n");
    let mut follower = Follower::start(stage, &dir, &["sub/log"]);
    let mut wanted = "first\n".to_owned();
    follower.program.until_out(&wanted);
    for round in 1..=3 {
        let aside = follower.path(&format!("aside-{round}"));
        fs::rename(follower.path("sub"), &aside).expect("renamed");
        write(&mut log, &format!("{round}: aside\n"));
        writeln!(wanted, "{round}: aside").expect("text");
        follower.program.until_out(&wanted);
        fs::create_dir(follower.path("sub")).expect("directory");
        log = open(&follower.path("sub/log"));
        write(&mut log, &format!("{round}: anew\n"));
        writeln!(wanted, "{round}: anew").expect("text");
        follower.program.until_out(&wanted);
    }
    follower.ends_having_printed(&wanted);
}

fn link_that_moves(stage: &Stage) {
    let dir = directory(stage);
    fs::create_dir(dir.join("logs")).expect("directory");
    append(&dir.join("logs/1"), "one\n");
    append(&dir.join("logs/2"), "two\n");
    symlink("logs/1", dir.join("log")).expect("link");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    follower.program.until_out("one\n");
    symlink("logs/2", follower.path("next")).expect("link");
    fs::rename(follower.path("next"), follower.path("log")).expect("renamed");
    follower.program.until_out("one\ntwo\n");
    // What it points to is in a directory that is not watched.
    fs::remove_file(follower.path("logs/2")).expect("removed");
    append(&follower.path("logs/2"), "three\n");
    follower.ends_having_printed("one\ntwo\nthree\n");
}

fn several_files_have_headers(stage: &Stage) {
    let dir = directory(stage);
    append(&dir.join("a"), "a1\n");
    append(&dir.join("b"), "b1\n");
    let mut follower = Follower::start(stage, &dir, &["a", "b"]);
    let mut wanted = "==> a <==\na1\n\n==> b <==\nb1\n".to_owned();
    follower.program.until_out(&wanted);
    append(&follower.path("b"), "b2\n");
    wanted += "b2\n";
    follower.program.until_out(&wanted);
    append(&follower.path("a"), "a2\n");
    wanted += "\n==> a <==\na2\n";
    follower.program.until_out(&wanted);
    follower.ends_having_printed(&wanted);
}

/// In either order of the names: a file that moves from one to the other is
/// not printed a second time.
fn rotated_into_a_followed_name(stage: &Stage) {
    for names in [["log", "log.1"], ["log.1", "log"]] {
        let dir = directory(stage);
        append(&dir.join("log"), "first\n");
        let arguments = ["-n", "99", names[0], names[1]];
        let mut follower = Follower::start(stage, &dir, &arguments);
        let mut wanted = "==> log <==\nfirst\n".to_owned();
        follower.program.until_out(&wanted);
        for round in 1..=3 {
            fs::rename(follower.path("log"), follower.path("log.1")).expect("renamed");
            append(&follower.path("log"), &format!("{round}: new\n"));
            let header = if round == 1 { "" } else { "\n==> log <==\n" };
            writeln!(wanted, "{header}{round}: new").expect("text");
            follower.program.until_out(&wanted);
            append(&follower.path("log.1"), &format!("{round}: old\n"));
            write!(wanted, "\n==> log.1 <==\n{round}: old\n").expect("text");
            follower.program.until_out(&wanted);
        }
        follower.ends_having_printed(&wanted);
    }
}

fn old_files_are_closed(stage: &Stage) {
    let dir = directory(stage);
    append(&dir.join("log"), "0\n");
    let mut follower = Follower::start(stage, &dir, &["-l", "1", "log"]);
    let mut wanted = "0\n".to_owned();
    follower.program.until_out(&wanted);
    let before = follower.program.descriptors();
    let rotate = |round: usize| {
        fs::rename(follower.path("log"), follower.path("log.1")).expect("renamed");
        append(&follower.path("log"), &format!("{round}\n"));
    };
    for round in 1..=100 {
        rotate(round);
        writeln!(wanted, "{round}").expect("text");
        follower.program.until_out(&wanted);
        let open = follower.program.descriptors();
        assert!(open <= before + 20, "{open} descriptors, {before} before");
    }
    // After the silence no more is open than at the beginning.
    follower.program.until("old files are closed", |program| program.descriptors() <= before);
    append(&follower.path("log.1"), "to one that is closed\n");
    append(&follower.path("log"), "the end\n");
    follower.ends_having_printed(&(wanted + "the end\n"));
}

fn hundred_files(stage: &Stage) {
    const FILES: usize = 100;
    let dir = directory(stage);
    let names: Vec<_> = (0..FILES).map(|n| format!("log{n}")).collect();
    for name in &names {
        append(&dir.join(name), "");
    }
    let arguments: Vec<_> = names.iter().map(String::as_str).collect();
    let mut follower = Follower::start(stage, &dir, &arguments);
    for round in 0..3 {
        for name in &names {
            if round > 0 {
                fs::rename(follower.path(name), follower.path(&format!("{name}.{round}")))
                    .expect("renamed");
            }
            append(&follower.path(name), &format!("{round} of {name}\n"));
        }
        for name in &names {
            let line = format!("\n{round} of {name}\n");
            follower.program.until(&line, |program| program.out().contains(&line));
        }
    }
    follower.program.stops(libc::SIGTERM);
    let out = follower.program.out();
    let lines = out.lines().filter(|line| line.contains(" of "));
    assert_eq!(lines.count(), 3 * FILES);
}

/// Writes the half of a line, and rotates when it was printed: the old file and
/// the new one.
fn rotate_in_mid_line(follower: &mut Follower, round: usize) -> (File, File) {
    let path = follower.path("log");
    let mut old = open(&path);
    let half = format!("{round}: one half, ");
    write(&mut old, &half);
    follower.program.until("the half", |program| program.out().ends_with(&half));
    fs::rename(&path, follower.path("log.1")).expect("renamed");
    let new = open(&path);
    follower.until_said(FOLLOWS, round);
    (old, new)
}

/// As of a write() that is seen in its middle, by one that takes its time.
fn halves_of_lines(stage: &Stage) {
    let dir = directory(stage);
    append(&dir.join("log"), "ready\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    follower.program.until_out("ready\n");
    let mut round = 0;
    let mut in_time = 0;
    while in_time < 3 {
        round += 1;
        let (mut old, mut new) = rotate_in_mid_line(&mut follower, round);
        let began = Instant::now();
        write(&mut new, &format!("{round}: new\n"));
        // Time for it to be printed at once, which it must not be.
        thread::sleep(Duration::from_millis(100));
        write(&mut old, &format!("{round}: the other\n"));
        let late = began.elapsed() >= Duration::from_millis(900);
        let lines = [format!("{round}: new\n"), format!("{round}: the other\n")];
        follower.program.until("both", |program| lines.iter().all(|l| program.out().contains(l)));
        let wanted = format!("{round}: one half, {round}: the other\n{round}: new\n");
        assert!(late || follower.program.out().ends_with(&wanted), "{}", follower.program.out());
        in_time += usize::from(!late);
        // What waited is watched as before.
        write(&mut old, &format!("{round}: last\n"));
        write(&mut new, &format!("{round}: more\n"));
        for line in [format!("{round}: last\n"), format!("{round}: more\n")] {
            follower.program.until("both", |program| program.out().contains(&line));
        }
    }
    follower.program.stops(libc::SIGTERM);
}

fn half_of_a_line_is_not_waited_for_long(stage: &Stage) {
    let dir = directory(stage);
    append(&dir.join("log"), "ready\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    follower.program.until_out("ready\n");
    for round in 1..=2 {
        let (old, mut new) = rotate_in_mid_line(&mut follower, round);
        drop(old);
        let began = Instant::now();
        write(&mut new, &format!("{round}: new\n"));
        let wanted = format!("{round}: one half, {round}: new\n");
        follower.program.until("both", |program| program.out().ends_with(&wanted));
        assert!(began.elapsed() >= Duration::from_millis(900));
        write(&mut new, &format!("{round}: more\n"));
        let wanted = format!("{wanted}{round}: more\n");
        follower.program.until("more", |program| program.out().ends_with(&wanted));
    }
    // It does not keep the follower from ending, with all printed.
    let (_old, mut new) = rotate_in_mid_line(&mut follower, 3);
    write(&mut new, "3: new\n");
    follower.program.stops(libc::SIGTERM);
    assert!(follower.program.out().ends_with("3: one half, 3: new\n"));
}

/// Several writers that open their log anew now and then, and a rotation that
/// does not wait for them: only for the follower to have seen the new file, and
/// to have the one still open that the slowest writes to.
fn bursts_under_rotation(stage: &Stage) {
    const WRITERS: usize = 3;
    const ROTATIONS: usize = 40;
    const KEPT: usize = 16;
    let dir = directory(stage);
    let log = dir.join("log");
    append(&log, "ready\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let rotated = AtomicUsize::new(0);
    let opened: Vec<_> = (0..WRITERS).map(|_| AtomicUsize::new(0)).collect();
    let done = AtomicBool::new(false);
    follower.program.until("it follows", |program| program.out() == "ready\n");

    let written: Vec<usize> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (log, rotated, opened, done) = (&log, &rotated, &opened[writer], &done);
                scope.spawn(move || {
                    let mut count = 0;
                    while !done.load(Ordering::SeqCst) {
                        // Told to, as a daemon is by a signal, but late.
                        let seen = rotated.load(Ordering::SeqCst);
                        let mut file = open(log);
                        opened.store(seen, Ordering::SeqCst);
                        while rotated.load(Ordering::SeqCst) == seen && !done.load(Ordering::SeqCst)
                        {
                            write(&mut file, &format!("{writer} {count}\n"));
                            count += 1;
                            if count % 200 == 0 {
                                thread::yield_now();
                            }
                        }
                        for _ in 0..20 {
                            write(&mut file, &format!("{writer} {count}\n"));
                            count += 1;
                        }
                    }
                    count
                })
            })
            .collect();
        for rotation in 1..=ROTATIONS {
            fs::rename(&log, dir.join(format!("log.{rotation}"))).expect("renamed");
            drop(open(&log));
            rotated.store(rotation, Ordering::SeqCst);
            follower.until_said(FOLLOWS, rotation);
            let slowest = || opened.iter().map(|n| n.load(Ordering::SeqCst)).min().unwrap_or(0);
            follower.program.until("nobody is far behind", |_| rotation - slowest() < KEPT);
        }
        done.store(true, Ordering::SeqCst);
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    });
    append(&log, "the end\n");
    let size = |path: &Path| fs::metadata(path).expect("a file").size();
    let total: u64 =
        (1..=ROTATIONS).map(|n| size(&dir.join(format!("log.{n}")))).sum::<u64>() + size(&log);
    let out = dir.join("stdout");
    until("all of it", || format!("{} of {total}", size(&out)), || size(&out) >= total);
    follower.program.stops(libc::SIGTERM);

    let text = follower.program.out();
    let mut next = vec![0; WRITERS];
    for line in text.lines().filter(|line| *line != "ready" && *line != "the end") {
        let (writer, count) = line.split_once(' ').expect("two numbers");
        let writer: usize = writer.parse().expect("a writer");
        // Every line, once, in the order of its writer.
        assert_eq!(count.parse::<usize>().expect("a count"), next[writer], "of {writer}");
        next[writer] += 1;
    }
    assert_eq!(next, written);
    assert_eq!(u64::try_from(text.len()).expect("a size"), total);
}

fn ends_at_signals(stage: &Stage) {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let dir = directory(stage);
        append(&dir.join("log"), "first\n");
        let mut follower = Follower::start(stage, &dir, &["log"]);
        follower.program.until_out("first\n");
        // What was there before the signal is printed, however late.
        append(&follower.path("log"), &"last\n".repeat(100_000));
        fs::rename(follower.path("log"), follower.path("log.1")).expect("renamed");
        append(&follower.path("log"), "new\n");
        follower.program.stops(signal);
        let wanted = format!("first\n{}new\n", "last\n".repeat(100_000));
        assert!(follower.program.out() == wanted, "{} bytes", follower.program.out().len());
    }
}

fn ends_though_nobody_reads(stage: &Stage) {
    let dir = directory(stage);
    let text: String = (0..1_000_000).map(|n| format!("{n}\n")).collect();
    append(&dir.join("log"), &text);
    let mut command = stage.program("follow");
    command.args(["-n", "2000000", "log"]).stdout(Stdio::piped());
    let mut program =
        Program::start_with_output(&mut command, &dir, dir.join("log"), dir.join("stderr"));
    let mut pipe = program.take_stdout();
    let mut start = [0; 100_000];
    pipe.read_exact(&mut start).expect("some of it");
    program.signal(libc::SIGTERM);
    program.ends_well();
    // What did come is the beginning, without a gap.
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).expect("the rest");
    let got = [&start[..], &rest[..]].concat();
    assert!(got.len() < text.len() && text.as_bytes().starts_with(&got), "{}", got.len());

    // With a reader all of it comes through a pipe, too.
    let mut command = stage.program("follow");
    command.args(["-n", "2000000", "log"]).stdout(Stdio::piped());
    let mut program =
        Program::start_with_output(&mut command, &dir, dir.join("log"), dir.join("stderr"));
    let mut pipe = program.take_stdout();
    let mut got = vec![0; text.len()];
    pipe.read_exact(&mut got).expect("all of it");
    assert!(got == text.as_bytes());
    program.stops(libc::SIGTERM);
}

/// So much comes at once that it is printed in turns, and an older file gets
/// something while one of them is under way: held up by a pipe that is full.
fn turns_end_between_lines(stage: &Stage) {
    const LINES: usize = 300_000;
    let dir = directory(stage);
    append(&dir.join("log"), "ready\n");
    let mut command = stage.program("follow");
    command.arg("log").stdout(Stdio::piped());
    let mut program =
        Program::start_with_output(&mut command, &dir, dir.join("log"), dir.join("stderr"));
    let mut pipe = program.take_stdout();
    let mut got = vec![0; "ready\n".len()];
    pipe.read_exact(&mut got).expect("the first line");
    fs::rename(dir.join("log"), dir.join("log.1")).expect("renamed");
    append(&dir.join("log"), &"seven.\n".repeat(LINES));
    let mut got = vec![0; 200_000];
    pipe.read_exact(&mut got).expect("some of it");
    append(&dir.join("log.1"), "late\n");
    let mut rest = vec![0; "seven.\n".len() * LINES + "late\n".len() - got.len()];
    pipe.read_exact(&mut rest).expect("the rest");
    got.extend(rest);
    program.stops(libc::SIGTERM);
    let text = String::from_utf8(got).expect("text");
    assert_eq!(text.lines().filter(|line| *line == "seven.").count(), LINES);
    assert_eq!(text.lines().filter(|line| *line == "late").count(), 1);
}

/// A configuration, and the command that rotates once.
fn logrotate(dir: &Path, how: &str) -> Command {
    let (config, state) = (dir.join("config"), dir.join("state"));
    let log = dir.join("log");
    // Only what nobody else may write to is trusted.
    fs::write(&config, format!("{} {{\n\trotate 3\n\t{how}\n}}\n", log.display()))
        .expect("written");
    let mut command = Command::new("logrotate");
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    command.env("PATH", path).arg("--force").arg("--state").arg(state).arg(config);
    command
}

fn logrotate_create(stage: &Stage) {
    let dir = directory(stage);
    let mut log = open(&dir.join("log"));
    write(&mut log, "first\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "first\n".to_owned();
    follower.program.until_out(&wanted);
    let mut command = logrotate(&dir, "create 0600");
    // More often than old files are kept.
    for round in 1..=8 {
        crate::common::run(&mut command);
        write(&mut log, &format!("{round}: to the old one\n"));
        log = open(&follower.path("log"));
        write(&mut log, &format!("{round}: to the new one\n"));
        write!(wanted, "{round}: to the old one\n{round}: to the new one\n").expect("text");
        follower.program.until_out(&wanted);
    }
    assert!(follower.path("log.3").exists() && !follower.path("log.4").exists());
    // One that makes nothing new: the writer does.
    let mut command = logrotate(&dir, "nocreate");
    for round in 1..=3 {
        crate::common::run(&mut command);
        log = open(&follower.path("log"));
        write(&mut log, &format!("{round}: made by the writer\n"));
        writeln!(wanted, "{round}: made by the writer").expect("text");
        follower.program.until_out(&wanted);
    }
    follower.ends_having_printed(&wanted);
}

fn logrotate_copytruncate(stage: &Stage) {
    let dir = directory(stage);
    let mut log = open(&dir.join("log"));
    write(&mut log, "first\n");
    let mut follower = Follower::start(stage, &dir, &["log"]);
    let mut wanted = "first\n".to_owned();
    let mut command = logrotate(&dir, "copytruncate");
    for round in 1..=8 {
        // What is cut off before it is read is lost to anyone.
        follower.program.until_out(&wanted);
        crate::common::run(&mut command);
        follower.until_said(SHORTER, round);
        let text = format!("{round}: a line\n").repeat(round);
        write(&mut log, &text);
        wanted += &text;
    }
    assert!(follower.path("log.3").exists() && !follower.path("log.4").exists());
    follower.ends_having_printed(&wanted);
}
