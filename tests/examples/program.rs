//! A program under test: what it says, how it is told to end, and that it
//! leaves nothing behind.

use crate::Stage;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For anything that must come: a loaded machine may take its time.
const LIMIT: Duration = Duration::from_secs(30);

/// The variable by which a program's descendants are found.
const MARK: &str = "KQUEUE_EXAMPLE";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A directory of this trial's own.
pub(crate) fn directory(stage: &Stage) -> PathBuf {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = stage.dir.join(format!("trial-{number}"));
    fs::create_dir(&dir).expect("directory");
    dir
}

/// Waits for a condition, or fails with what `say` has to tell.
#[track_caller]
pub(crate) fn until(what: &str, say: impl Fn() -> String, condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "never came: {what}\n{}", say());
        thread::sleep(Duration::from_millis(5));
    }
}

/// One that runs, with its output in files. Dropped, it is killed, with all
/// that it started.
pub(crate) struct Program {
    child: Child,
    mark: String,
    out: PathBuf,
    err: PathBuf,
}

impl Program {
    /// Starts it in `dir`, where what it says goes, too.
    pub(crate) fn start(command: &mut Command, dir: &Path) -> Program {
        let (out, err) = (dir.join("stdout"), dir.join("stderr"));
        command.stdout(File::create(&out).expect("file"));
        Program::start_with_output(command, dir, out, err)
    }

    /// As `start`, with its standard output set up by the caller.
    pub(crate) fn start_with_output(
        command: &mut Command,
        dir: &Path,
        out: PathBuf,
        err: PathBuf,
    ) -> Program {
        let mark = dir.display().to_string();
        let child = command
            .current_dir(dir)
            .env(MARK, &mark)
            .stdin(Stdio::null())
            .stderr(File::create(&err).expect("file"))
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Program { child, mark, out, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("a pipe")
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).expect("output")
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).expect("messages")
    }

    #[track_caller]
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Program) -> bool) {
        until(
            what,
            || self.told(),
            || {
                // First this: what it said before it ended counts.
                let ended = self.has_ended();
                let came = condition(self);
                assert!(came || !ended, "ended before: {what}\n{}", self.told());
                came
            },
        );
    }

    fn has_ended(&self) -> bool {
        state_of(self.pid()).is_none_or(|(state, _)| state == 'Z')
    }

    /// Waits until it has printed exactly this, and for nothing after it.
    #[track_caller]
    pub(crate) fn until_out(&self, wanted: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            let ended = self.has_ended();
            let got = self.out();
            if got == wanted {
                return;
            }
            assert!(
                wanted.starts_with(&got) && !ended && Instant::now() < end,
                "wanted {wanted:?}\n{}",
                self.told()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn told(&self) -> String {
        let out = fs::read_to_string(&self.out).unwrap_or_default();
        let tail: Vec<_> = out.lines().rev().take(40).collect();
        let err = fs::read_to_string(&self.err).unwrap_or_default();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        format!("--- stdout, its end:\n{tail}\n--- stderr:\n{err}")
    }

    pub(crate) fn signal(&self, signal: i32) {
        kill(self.pid(), signal);
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("descriptors").count()
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < end, "does not end\n{}", self.told());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// It must end with 0, and nothing that it started may be left.
    #[track_caller]
    pub(crate) fn ends_well(&mut self) {
        let status = self.wait();
        assert_eq!(
            (status.code(), status.signal()),
            (Some(0), None),
            "its status\n{}",
            self.told()
        );
        // One that has been killed may take a moment to go.
        let told = || format!("left behind: {:?}\n{}", marked(&self.mark), self.told());
        until("nothing is left behind", told, || marked(&self.mark).is_empty());
    }

    #[track_caller]
    pub(crate) fn stops(&mut self, signal: i32) {
        self.signal(signal);
        self.ends_well();
    }

    /// The processes that it started, and theirs.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        marked(&self.mark).into_iter().filter(|pid| *pid != self.pid()).collect()
    }

    /// Its children, with their state (Z: a zombie).
    pub(crate) fn children(&self) -> Vec<(u32, char)> {
        let child = |pid: u32| {
            let (state, parent) = state_of(pid)?;
            (parent == self.pid()).then_some((pid, state))
        };
        processes().into_iter().filter_map(child).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its own number is ours until it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Two rounds: the first may meet one that is about to fork.
        for _ in 0..2 {
            for pid in marked(&self.mark) {
                kill(pid, libc::SIGKILL);
            }
        }
    }
}

pub(crate) fn kill(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("a pid");
    // SAFETY: kill() touches no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// The state of a process, and its parent.
fn state_of(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Processes with this mark in their environment; zombies have none.
fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let has = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    processes().into_iter().filter(has).collect()
}
