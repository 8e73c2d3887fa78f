//! `supervise`: services that end in every way, the back-off between their
//! starts, SIGHUP, SIGTERM, and that no process and no zombie is left.

use crate::program::{Program, directory, kill};
use crate::{Case, Stage};
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) fn trials(stage: &Stage) -> Vec<Trial> {
    let all: [Case; 16] = [
        ("statuses_are_told_and_services_restarted", statuses_are_told_and_services_restarted),
        ("killed_from_outside", killed_from_outside),
        ("back_off_doubles_up_to_its_ceiling", back_off_doubles_up_to_its_ceiling),
        ("back_off_starts_anew_after_a_long_run", back_off_starts_anew_after_a_long_run),
        ("hup_starts_stops_replaces_and_keeps", hup_starts_stops_replaces_and_keeps),
        ("hup_with_a_bad_file_changes_nothing", hup_with_a_bad_file_changes_nothing),
        ("hup_takes_back_a_service_that_is_stopping", hup_takes_back_a_service_that_is_stopping),
        ("hup_does_not_wait_for_the_back_off", hup_does_not_wait_for_the_back_off),
        ("term_stops_everything", term_stops_everything),
        ("int_stops_everything", int_stops_everything),
        ("term_kills_after_the_grace_period", term_kills_after_the_grace_period),
        ("second_term_does_not_wait", second_term_does_not_wait),
        ("term_ends_a_stopped_service", term_ends_a_stopped_service),
        ("services_get_default_signals", services_get_default_signals),
        ("nothing_of_a_group_outlives_it", nothing_of_a_group_outlives_it),
        ("a_thousand_short_lives", a_thousand_short_lives),
    ];
    let mut trials: Vec<_> = all
        .into_iter()
        .map(|(name, test)| stage.trial(&format!("supervise::{name}"), test))
        .collect();
    trials.push(stage.trial("supervise::bad_files_are_refused", bad_files_are_refused));
    trials
}

/// A supervisor, and the file that it reads.
struct Supervisor {
    program: Program,
    config: PathBuf,
}

/// A line of the log about a service: its name, its pid, and what is said.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    name: String,
    pid: Option<u32>,
    text: String,
}

impl Supervisor {
    fn start(stage: &Stage, options: &[&str], services: &str) -> Supervisor {
        Supervisor::start_in(&directory(stage), stage, options, services)
    }

    fn start_in(dir: &Path, stage: &Stage, options: &[&str], services: &str) -> Supervisor {
        let config = dir.join("services");
        fs::write(&config, services).expect("written");
        let program = Program::start(stage.program("supervise").args(options).arg(&config), dir);
        Supervisor { program, config }
    }

    fn log(&self) -> Vec<Line> {
        let parse = |line: &str| {
            let (who, text) = line.strip_prefix("supervise: ")?.split_once(": ")?;
            let (name, pid) = match who.split_once('[') {
                Some((name, pid)) => (name, Some(pid.strip_suffix(']')?.parse().ok()?)),
                None => (who, None),
            };
            Some(Line { name: name.to_owned(), pid, text: text.to_owned() })
        };
        self.program.err().lines().filter_map(parse).collect()
    }

    /// What is said of one service.
    fn of(&self, name: &str) -> Vec<Line> {
        self.log().into_iter().filter(|line| line.name == name).collect()
    }

    fn count(&self, name: &str, text: &str) -> usize {
        self.of(name).iter().filter(|line| line.text == text).count()
    }

    #[track_caller]
    fn until(&self, name: &str, text: &str, count: usize) {
        self.program
            .until(&format!("{count} times {name}: {text}"), |_| self.count(name, text) >= count);
    }

    /// The process of a service that was started last.
    #[track_caller]
    fn pid(&self, name: &str) -> u32 {
        let lines = self.of(name);
        let line = lines.iter().rev().find(|line| line.text == "started");
        line.and_then(|line| line.pid).expect("a started service")
    }

    /// Gives it a new file, and waits until it has read it.
    #[track_caller]
    fn reload(&self, services: &str) {
        let said = "supervise: read ";
        let reads =
            |program: &Program| program.err().lines().filter(|line| line.starts_with(said)).count();
        let before = reads(&self.program);
        fs::write(&self.config, services).expect("written");
        self.program.signal(libc::SIGHUP);
        self.program.until("the file is read", |program| reads(program) > before);
    }

    /// What the kernel and the event say must be the same, always.
    #[track_caller]
    fn stops(&mut self, signal: i32) {
        self.program.stops(signal);
        let log = self.program.err();
        assert!(!log.contains("but kevent() said"), "{log}");
        assert!(log.ends_with("supervise: stopped\n"), "{log}");
    }
}

/// For a service of the shell: tells by a file that it is up.
fn tell(name: &str) -> String {
    format!("echo $$ >up-{name}~; mv up-{name}~ up-{name}")
}

/// A service that stays, and tells when it is up: from then on it takes signals
/// as it wants to. `before` is a command of the shell.
fn stays(name: &str, before: &str) -> String {
    format!("{name} {before}; {}; while :; do sleep 1; done\n", tell(name))
}

/// Waits for what a service tells, and until its start is in the log.
#[track_caller]
fn up(supervisor: &Supervisor, name: &str) {
    let file = supervisor.config.with_file_name(format!("up-{name}"));
    supervisor.program.until(&format!("{name} is up"), |_| file.exists());
    let pid = fs::read_to_string(&file).expect("a pid").trim().parse().expect("a pid");
    fs::remove_file(file).expect("removed");
    let started = Line { name: name.to_owned(), pid: Some(pid), text: "started".to_owned() };
    supervisor.program.until(&format!("{started:?}"), |_| supervisor.of(name).contains(&started));
}

fn statuses_are_told_and_services_restarted(stage: &Stage) {
    let services = "# the ways to end\n\
        \n\
        fine exit 0\n\
        \tthree   exit 3  \n\
        most exit 255\n\
        segv kill -SEGV $$\n\
        kill kill -KILL $$\n\
        term kill -TERM $$\n\
        hup kill -HUP $$\n\
        usr1 kill -USR1 $$\n\
        missing exec /nonexistent/program\n";
    let mut supervisor = Supervisor::start(stage, &["-b", "10", "-m", "20"], services);
    let wanted = [
        ("fine", "exited with status 0"),
        ("three", "exited with status 3"),
        ("most", "exited with status 255"),
        ("segv", "ended by signal 11"),
        ("kill", "ended by signal 9"),
        ("term", "ended by signal 15"),
        ("hup", "ended by signal 1"),
        ("usr1", "ended by signal 10"),
        ("missing", "exited with status 127"),
    ];
    for (name, _) in wanted {
        supervisor.until(name, "started", 3);
    }
    supervisor.stops(libc::SIGTERM);
    for (name, text) in wanted {
        let lines = supervisor.of(name);
        // Started, ended, starts again: each with the pid of its start.
        for turn in lines.chunks(3).take(2) {
            assert_eq!(turn[0].text, "started", "{lines:?}");
            assert!(turn[1].text.starts_with(text), "{lines:?}");
            assert_eq!(turn[0].pid, turn[1].pid, "{lines:?}");
            assert!(turn[0].pid.is_some() && turn[2].pid.is_none(), "{lines:?}");
        }
    }
}

fn killed_from_outside(stage: &Stage) {
    let services = stays("one", ":") + &stays("two", ":");
    let mut supervisor = Supervisor::start(stage, &["-b", "10"], &services);
    up(&supervisor, "one");
    up(&supervisor, "two");
    let two = supervisor.pid("two");
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGQUIT] {
        let pid = supervisor.pid("one");
        kill(pid, signal);
        up(&supervisor, "one");
        assert_ne!(supervisor.pid("one"), pid);
        let ended = supervisor.of("one");
        let ended = ended.iter().rfind(|line| line.text.starts_with("ended")).expect("an end");
        assert_eq!(ended.pid, Some(pid));
        assert!(ended.text.starts_with(&format!("ended by signal {signal} ")), "{ended:?}");
    }
    assert_eq!(supervisor.pid("two"), two);
    assert_eq!(supervisor.count("two", "started"), 1);
    supervisor.stops(libc::SIGTERM);
}

/// When a service was started, in ms since the machine was: as it says itself.
fn starts(dir: &Path) -> Vec<u64> {
    let text = fs::read_to_string(dir.join("starts")).unwrap_or_default();
    // Seconds with two digits behind the point, that is, in steps of 10 ms.
    text.lines().map(|line| line.replace('.', "").parse::<u64>().expect("a time") * 10).collect()
}

const RECORD: &str = "read now rest </proc/uptime; echo $now >>starts";

/// No start may come before its time; how much later is the machine's affair.
#[track_caller]
fn floors(starts: &[u64], delays: &[u64]) {
    for (pair, delay) in starts.windows(2).zip(delays) {
        // Both are rounded down to 10 ms.
        assert!(pair[1] - pair[0] + 10 > *delay, "{starts:?}, but waits were {delays:?}");
    }
}

fn announced(supervisor: &Supervisor, name: &str) -> Vec<u64> {
    let number =
        |line: &Line| line.text.strip_prefix("starts again in ")?.strip_suffix(" ms")?.parse().ok();
    supervisor.of(name).iter().filter_map(number).collect()
}

fn back_off_doubles_up_to_its_ceiling(stage: &Stage) {
    let dir = directory(stage);
    let options = ["-b", "100", "-m", "500", "-r", "86400000"];
    let mut supervisor =
        Supervisor::start_in(&dir, stage, &options, &format!("flaps {RECORD}; exit 1\n"));
    supervisor.program.until("six starts", |_| starts(&dir).len() >= 6);
    supervisor.stops(libc::SIGTERM);
    let wanted = [100, 200, 400, 500, 500];
    assert_eq!(announced(&supervisor, "flaps")[..5], wanted);
    floors(&starts(&dir), &wanted);
}

fn back_off_starts_anew_after_a_long_run(stage: &Stage) {
    let dir = directory(stage);
    // Its third run is a long one. What is short must be so on any machine.
    let service = format!("flaps {RECORD}; n=$(wc -l <starts); test $n -ne 3 || sleep 4; exit 1\n");
    let options = ["-b", "100", "-m", "5000", "-r", "4000"];
    let mut supervisor = Supervisor::start_in(&dir, stage, &options, &service);
    supervisor.program.until("five starts", |_| starts(&dir).len() >= 5);
    supervisor.stops(libc::SIGTERM);
    let wanted = [100, 200, 100, 200];
    assert_eq!(announced(&supervisor, "flaps")[..4], wanted);
    floors(&starts(&dir), &[100, 200, 4100, 200]);
}

fn hup_starts_stops_replaces_and_keeps(stage: &Stage) {
    let services = stays("keep", ":") + &stays("change", ": old") + &stays("remove", ":");
    let mut supervisor = Supervisor::start(stage, &[], &services);
    for name in ["keep", "change", "remove"] {
        up(&supervisor, name);
    }
    let [keep, change, remove] = ["keep", "change", "remove"].map(|name| supervisor.pid(name));

    supervisor.reload(&(stays("new", ":") + &stays("change", ": new") + &stays("keep", ":")));
    up(&supervisor, "new");
    up(&supervisor, "change");
    supervisor.until("remove", "ended by signal 15 (Terminated)", 1);
    assert_eq!(supervisor.pid("keep"), keep);
    assert_ne!(supervisor.pid("change"), change);
    // Not before the old one had ended, and without waiting for a timer.
    let lines = supervisor.of("change");
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["started", "stopping", "ended by signal 15 (Terminated)", "started"]);
    supervisor.program.until("three services", |program| program.children().len() == 3);
    assert!(!supervisor.program.descendants().contains(&remove));

    // The same again changes nothing, however often it is read.
    let services = supervisor.log().len();
    for _ in 0..3 {
        let same = fs::read_to_string(&supervisor.config).expect("the file");
        supervisor.reload(&same);
    }
    let log = supervisor.log();
    assert_eq!(log.len(), services, "{log:?}");

    // All go; the supervisor stays, and can be given work again.
    supervisor.reload("# nothing\n");
    supervisor.program.until("no service", |program| program.children().is_empty());
    supervisor.reload(&stays("late", ":"));
    up(&supervisor, "late");
    supervisor.stops(libc::SIGTERM);
}

fn hup_with_a_bad_file_changes_nothing(stage: &Stage) {
    let mut supervisor = Supervisor::start(stage, &[], &stays("one", ":"));
    up(&supervisor, "one");
    let pid = supervisor.pid("one");
    for (bad, complaint) in [
        ("two sleep 1\nlonely\n", ":2: no command"),
        ("two sleep 1\ntwo sleep 2\n", ":2: two again"),
    ] {
        fs::write(&supervisor.config, bad).expect("written");
        supervisor.program.signal(libc::SIGHUP);
        supervisor.program.until(complaint, |program| program.err().contains(complaint));
    }
    fs::remove_file(&supervisor.config).expect("removed");
    supervisor.program.signal(libc::SIGHUP);
    let complaint = "No such file or directory";
    supervisor.program.until(complaint, |program| program.err().contains(complaint));
    assert_eq!(supervisor.pid("one"), pid);
    let children = supervisor.program.children();
    assert_eq!(children.len(), 1, "{children:?}");
    supervisor.stops(libc::SIGTERM);
}

/// It ends only when it is told to by a file, not by SIGTERM.
fn stubborn(name: &str) -> String {
    let tell = tell(name);
    format!("{name} trap '' TERM; {tell}; while test ! -e end; do sleep 0.05; done; rm end\n")
}

fn hup_takes_back_a_service_that_is_stopping(stage: &Stage) {
    let dir = directory(stage);
    let services = stubborn("one");
    let mut supervisor = Supervisor::start_in(&dir, stage, &["-g", "600000"], &services);
    up(&supervisor, "one");
    supervisor.reload("# nothing\n");
    supervisor.until("one", "stopping", 1);
    supervisor.reload(&services);
    fs::write(dir.join("end"), "").expect("written");
    supervisor.until("one", "started", 2);
    // It was ended on our account: that is no reason to back off.
    assert_eq!(announced(&supervisor, "one"), []);
    supervisor.program.signal(libc::SIGTERM);
    supervisor.until("one", "stopping", 2);
    fs::write(dir.join("end"), "").expect("written");
    supervisor.program.ends_well();
}

fn hup_does_not_wait_for_the_back_off(stage: &Stage) {
    let mut supervisor = Supervisor::start(
        stage,
        &["-b", "600000", "-m", "600000"],
        "change exit 1\nremove exit 1\nkeep exit 1\n",
    );
    for name in ["change", "remove", "keep"] {
        supervisor.until(name, "starts again in 600000 ms", 1);
    }
    supervisor.reload(&(stays("change", ":") + "keep exit 1\n"));
    up(&supervisor, "change");
    supervisor.until("remove", "stopped", 1);
    assert_eq!(supervisor.count("keep", "started"), 1);
    // One that waits for its time is no reason to wait at the end, either.
    supervisor.stops(libc::SIGTERM);
}

fn term_stops_everything(stage: &Stage) {
    stopped_by(stage, libc::SIGTERM);
}

fn int_stops_everything(stage: &Stage) {
    stopped_by(stage, libc::SIGINT);
}

fn stopped_by(stage: &Stage, signal: i32) {
    let names: Vec<_> = (0..20).map(|number| format!("s{number}")).collect();
    let services: String = names.iter().map(|name| stays(name, ":")).collect();
    let mut supervisor = Supervisor::start(stage, &[], &services);
    for name in &names {
        up(&supervisor, name);
    }
    supervisor.stops(signal);
    for name in &names {
        assert_eq!(supervisor.count(name, "ended by signal 15 (Terminated)"), 1);
        assert_eq!(supervisor.count(name, "started"), 1);
    }
}

fn term_kills_after_the_grace_period(stage: &Stage) {
    let services = stays("deaf", "trap '' TERM") + &stays("polite", ":");
    let mut supervisor = Supervisor::start(stage, &["-g", "700"], &services);
    up(&supervisor, "deaf");
    up(&supervisor, "polite");
    let began = Instant::now();
    supervisor.stops(libc::SIGTERM);
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    assert_eq!(supervisor.count("deaf", "killed, as it did not stop"), 1);
    assert_eq!(supervisor.count("deaf", "ended by signal 9 (Killed)"), 1);
    assert_eq!(supervisor.count("polite", "killed, as it did not stop"), 0);
    assert_eq!(supervisor.count("polite", "ended by signal 15 (Terminated)"), 1);
}

fn second_term_does_not_wait(stage: &Stage) {
    let services = stays("deaf", "trap '' TERM");
    let mut supervisor = Supervisor::start(stage, &["-g", "86400000"], &services);
    up(&supervisor, "deaf");
    supervisor.program.signal(libc::SIGTERM);
    supervisor.until("deaf", "stopping", 1);
    supervisor.stops(libc::SIGTERM);
    assert_eq!(supervisor.count("deaf", "ended by signal 9 (Killed)"), 1);
}

fn term_ends_a_stopped_service(stage: &Stage) {
    let mut supervisor = Supervisor::start(stage, &["-g", "86400000"], &stays("one", ":"));
    up(&supervisor, "one");
    kill(supervisor.pid("one"), libc::SIGSTOP);
    let stopped = |program: &Program| program.children().iter().all(|(_, state)| *state == 'T');
    supervisor.program.until("it is stopped", stopped);
    supervisor.stops(libc::SIGTERM);
}

/// Whatever the supervisor inherited, and has made of its signals since.
fn services_get_default_signals(stage: &Stage) {
    let dir = directory(stage);
    let config = dir.join("services");
    fs::write(&config, "signals exec grep '^Sig[BI]' /proc/self/status\n").expect("written");
    let mut command = stage.program("supervise");
    command.args(["-b", "86400000", "-m", "86400000"]).arg(&config);
    let odd = || {
        for signal in [libc::SIGQUIT, libc::SIGUSR1, libc::SIGCHLD, libc::SIGPIPE, libc::SIGHUP] {
            // SAFETY: signal() may be called between fork and exec.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: it fills in the set it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: sigemptyset() has filled it in.
        let mut set = unsafe { set.assume_init() };
        for signal in [libc::SIGUSR2, libc::SIGTERM, libc::SIGWINCH] {
            // SAFETY: the set is a valid one.
            unsafe { libc::sigaddset(&mut set, signal) };
        }
        // SAFETY: the set is a valid one; the old one is not asked for.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
        Ok(())
    };
    // SAFETY: what is called there is safe between fork and exec.
    unsafe { command.pre_exec(odd) };
    let mut supervisor = Supervisor { program: Program::start(&mut command, &dir), config };
    supervisor.until("signals", "exited with status 0", 1);
    let told = supervisor.program.out();
    // Signals 32 and 33 belong to the C library, which lets nobody set them:
    // they are as they were when the tests began.
    let set = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name)).expect("a set");
        u64::from_str_radix(line.trim(), 16).expect("a number") & !(3 << 31)
    };
    assert_eq!((set("SigBlk:"), set("SigIgn:")), (0, 0), "{told}");
    // And this works although it was blocked.
    supervisor.stops(libc::SIGTERM);
}

fn nothing_of_a_group_outlives_it(stage: &Stage) {
    let services = "parent trap '' HUP; sleep 86400 & (sleep 86400 & sleep 86400) & exit 0\n";
    let options = ["-b", "86400000", "-m", "86400000"];
    let mut supervisor = Supervisor::start(stage, &options, services);
    supervisor.until("parent", "starts again in 86400000 ms", 1);
    supervisor.program.until("the rest is gone", |program| program.descendants().is_empty());
    supervisor.stops(libc::SIGTERM);
}

fn a_thousand_short_lives(stage: &Stage) {
    const SERVICES: usize = 20;
    const LIVES: usize = 50;
    // Each run has a status of its own: the line of `runs` that it wrote.
    let services: String = (0..SERVICES)
        .map(|n| format!("s{n} echo >>runs-s{n}; exit $(wc -l <runs-s{n})\n"))
        .collect();
    let mut supervisor = Supervisor::start(stage, &["-b", "1", "-m", "1"], &services);
    for number in 0..SERVICES {
        supervisor.until(&format!("s{number}"), "starts again in 1 ms", LIVES);
    }
    // None of the dead is left unreaped while others live on.
    let alive = supervisor.program.children().len();
    assert!(alive <= SERVICES, "{alive} children");
    let descriptors = supervisor.program.descriptors();
    assert!(descriptors < 20 + 2 * SERVICES, "{descriptors} descriptors");
    supervisor.stops(libc::SIGTERM);
    for number in 0..SERVICES {
        let lines = supervisor.of(&format!("s{number}"));
        let ends = lines.iter().filter(|line| line.text.starts_with("exited"));
        let wanted = (1..=LIVES).map(|run| format!("exited with status {run}"));
        let got: Vec<_> = ends.map(|line| line.text.clone()).take(LIVES).collect();
        assert_eq!(got, wanted.collect::<Vec<_>>(), "s{number}");
    }
}

fn bad_files_are_refused(stage: &Stage) {
    for (services, complaint) in
        [("lonely\n", ":1: no command"), ("a exit 1\n\na exit 2\n", ":3: a again")]
    {
        let mut supervisor = Supervisor::start(stage, &[], services);
        assert_eq!(supervisor.program.wait().code(), Some(1));
        assert!(supervisor.program.err().contains(complaint), "{}", supervisor.program.err());
        assert_eq!(supervisor.log().iter().filter(|line| line.text == "started").count(), 0);
    }
}
