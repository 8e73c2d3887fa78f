//! `httpd`: SIGTERM and SIGINT, and the page that is read again. That it
//! serves, and under load, is shown by `make demo`.

use crate::program::{Program, directory, until};
use crate::{Case, Stage};
use libtest_mimic::Trial;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) fn trials(stage: &Stage) -> Vec<Trial> {
    let all: [Case; 7] = [
        ("ends_at_signals", ends_at_signals),
        ("finishes_what_is_under_way", finishes_what_is_under_way),
        ("second_signal_cuts_off", second_signal_cuts_off),
        ("page_is_read_again_when_written", page_is_read_again_when_written),
        ("page_is_read_again_when_replaced", page_is_read_again_when_replaced),
        ("page_that_is_gone_stays", page_that_is_gone_stays),
        ("old_page_goes_out_whole", old_page_goes_out_whole),
    ];
    all.into_iter().map(|(name, test)| stage.trial(&format!("httpd::{name}"), test)).collect()
}

struct Server {
    program: Program,
    port: u16,
    dir: PathBuf,
}

impl Server {
    fn start(stage: &Stage, dir: &Path, arguments: &[&str]) -> Server {
        let program = Program::start(stage.program("httpd").args(["-p", "0"]).args(arguments), dir);
        program.until("it listens", |program| program.out().ends_with('\n'));
        let line = program.out();
        let port = line.trim_end().rsplit_once(' ').expect("a port").1.parse().expect("a port");
        Server { program, port, dir: dir.to_owned() }
    }

    /// With a page, and nothing else in its directory.
    fn with_page(stage: &Stage, text: &str) -> Server {
        let dir = directory(stage);
        fs::create_dir(dir.join("www")).expect("directory");
        fs::write(dir.join("www/page.html"), text).expect("written");
        Server::start(stage, &dir, &["-f", "www/page.html"])
    }

    fn page(&self) -> PathBuf {
        self.dir.join("www/page.html")
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        stream
    }

    fn get(&self) -> String {
        let mut stream = self.connect();
        ask(&mut stream, "/");
        answer(&mut stream)
    }

    #[track_caller]
    fn until_page(&self, text: &str) {
        until(&format!("the page is {text:?}"), || self.program.err(), || self.get() == text);
    }

    /// Its totals as it ends, by their names.
    fn total(&self, name: &str) -> u64 {
        let out = self.program.out();
        let line = out.lines().find(|line| line.starts_with("stopped: ")).expect("totals");
        let part = line.trim_start_matches("stopped: ").split(", ").find(|p| p.ends_with(name));
        part.expect("a total").split(' ').next().expect("a number").parse().expect("a number")
    }
}

fn ask(stream: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
}

/// Reads the head of an answer, which must be good; its length.
fn head(stream: &mut TcpStream) -> usize {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    length.expect("a length").parse().expect("a length")
}

fn answer(stream: &mut TcpStream) -> String {
    let mut body = vec![0; head(stream)];
    stream.read_exact(&mut body).expect("a body");
    String::from_utf8(body).expect("text")
}

/// The server has hung up, and said nothing more.
fn at_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the end");
    assert_eq!(rest, b"");
}

fn ends_at_signals(stage: &Stage) {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Server::start(stage, &directory(stage), &[]);
        // One that has been served, and one that has said nothing.
        let mut served = server.connect();
        ask(&mut served, "/");
        assert!(answer(&mut served).contains("Served by one kqueue"));
        let mut silent = server.connect();
        server.program.stops(signal);
        at_end(&mut served);
        at_end(&mut silent);
        assert_eq!(server.total("requests"), 1);
        assert_eq!(server.program.err(), "");
    }
}

const LARGE: usize = 8 * 1024 * 1024;

fn finishes_what_is_under_way(stage: &Stage) {
    let mut server = Server::start(stage, &directory(stage), &[]);
    let mut stream = server.connect();
    ask(&mut stream, "/large");
    assert_eq!(head(&mut stream), LARGE);
    server.program.signal(libc::SIGTERM);
    // It takes no new clients, but this one is served to the end.
    let refused = || TcpStream::connect(("127.0.0.1", server.port)).is_err();
    until("no new clients", || server.program.err(), refused);
    let mut body = vec![0; LARGE];
    stream.read_exact(&mut body).expect("all of it");
    assert!(body.starts_with(b"0000") && body.ends_with(b"131071\n"));
    at_end(&mut stream);
    drop(stream);
    server.program.ends_well();
}

fn second_signal_cuts_off(stage: &Stage) {
    let mut server = Server::start(stage, &directory(stage), &["-t", "86400"]);
    let mut stream = server.connect();
    ask(&mut stream, "/large");
    assert_eq!(head(&mut stream), LARGE);
    server.program.signal(libc::SIGTERM);
    let refused = || TcpStream::connect(("127.0.0.1", server.port)).is_err();
    until("no new clients", || server.program.err(), refused);
    server.program.stops(libc::SIGINT);
    let mut rest = Vec::new();
    // A reset may have come first.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < LARGE, "all of it came");
}

fn page_is_read_again_when_written(stage: &Stage) {
    let mut server = Server::with_page(stage, "version 0");
    let mut kept = server.connect();
    for version in 1..=10 {
        let text = format!("version {version}{}", "!".repeat(version % 3));
        fs::write(server.page(), &text).expect("written");
        server.until_page(&text);
        // A connection that has been there all the time sees it, too.
        ask(&mut kept, "/");
        assert_eq!(answer(&mut kept), text);
    }
    // In place, of the same length, and by appending.
    let mut file = fs::OpenOptions::new().write(true).open(server.page()).expect("opened");
    file.write_all(b"VERSION").expect("written");
    server.until_page("VERSION 10!");
    let mut file = fs::OpenOptions::new().append(true).open(server.page()).expect("opened");
    file.write_all(b" and more").expect("written");
    server.until_page("VERSION 10! and more");
    file.set_len(0).expect("truncated");
    server.until_page("");
    server.program.stops(libc::SIGTERM);
    assert!(server.total("reloads") >= 13, "{}", server.program.out());
    assert_eq!(server.program.err(), "");
}

fn page_is_read_again_when_replaced(stage: &Stage) {
    let mut server = Server::with_page(stage, "version 0");
    let next = server.dir.join("www/next");
    // What the library makes at first need is there after the first client.
    assert_eq!(server.get(), "version 0");
    let before = server.program.descriptors();
    for version in 1..=10 {
        let text = format!("version {version}");
        fs::write(&next, &text).expect("written");
        fs::rename(&next, server.page()).expect("renamed");
        server.until_page(&text);
    }
    // The new one is watched as the first was.
    fs::write(server.page(), "written in place").expect("written");
    server.until_page("written in place");
    // By a link that is moved: only the directory can tell.
    fs::write(server.dir.join("one"), "one").expect("written");
    fs::write(server.dir.join("two"), "two").expect("written");
    for target in ["one", "two", "one"] {
        symlink(Path::new("..").join(target), &next).expect("link");
        fs::rename(&next, server.page()).expect("renamed");
        server.until_page(target);
    }
    until("no descriptor is left", String::new, || server.program.descriptors() <= before);
    server.program.stops(libc::SIGTERM);
    assert_eq!(server.program.err(), "");
}

fn page_that_is_gone_stays(stage: &Stage) {
    let mut server = Server::with_page(stage, "old");
    let mut page = "old".to_owned();
    for round in 1..=3 {
        fs::remove_file(server.page()).expect("removed");
        let complaints = |program: &Program| program.err().matches("the old page stays").count();
        server.program.until("it complains", |program| complaints(program) >= round);
        assert_eq!(server.get(), page);
        // Others in the directory are no page.
        fs::write(server.dir.join("www/other"), "other").expect("written");
        page = format!("new {round}");
        fs::write(server.page(), &page).expect("written");
        server.until_page(&page);
    }
    server.program.stops(libc::SIGTERM);
}

fn old_page_goes_out_whole(stage: &Stage) {
    let old = "old line\n".repeat(LARGE / 9);
    let mut server = Server::with_page(stage, &old);
    let mut stream = server.connect();
    ask(&mut stream, "/");
    let length = head(&mut stream);
    fs::write(server.page(), "short").expect("written");
    server.until_page("short");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("all of it");
    assert!(body == old.as_bytes());
    ask(&mut stream, "/");
    assert_eq!(answer(&mut stream), "short");
    server.program.stops(libc::SIGTERM);
}
