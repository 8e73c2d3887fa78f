//! BEHAVIOUR.md keeps its word: every row has a number of its own and a test,
//! and every test that it names is there.
//!
//! The cases of C files are found as the compiler finds them, in the
//! preprocessed source, because macros make many of them. Nothing is built.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One row of one table.
#[derive(Debug)]
struct Row {
    number: String,
    /// What the column Linux says, in the tables that have it.
    linux: Option<String>,
    tests: Vec<String>,
}

/// The cells of a table's line, without the bars.
fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}

/// The names in a cell of tests: all of it must be names.
fn names(cell: &str) -> Option<Vec<String>> {
    let name = |text: &str| {
        let name = text.trim().strip_prefix('`')?.strip_suffix('`')?;
        (name.contains("::") && !name.contains(['`', ' '])).then(|| name.to_owned())
    };
    cell.split(',').map(name).collect()
}

/// The letter and the count of a row's number.
fn parts(number: &str) -> Option<(char, u32)> {
    let mut characters = number.chars();
    let letter = characters.next().filter(char::is_ascii_uppercase)?;
    Some((letter, characters.as_str().parse().ok()?))
}

/// The rows of a document, and what is wrong with it.
fn read(text: &str) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut wrong) = (Vec::<Row>::new(), Vec::new());
    let mut columns = Vec::new();
    let mut letters = BTreeSet::new();
    let mut last: Option<(char, u32)> = None;
    for (index, line) in text.lines().enumerate() {
        let mut complain = |what: &str| wrong.push(format!("line {}: {what}: {line}", index + 1));
        if !line.starts_with('|') {
            columns.clear();
            last = None;
            continue;
        }
        let cells = cells(line);
        if columns.is_empty() {
            if cells.first() != Some(&"Row") || cells.last() != Some(&"Tests") {
                complain("a table without numbers or tests");
            }
            columns = cells;
            continue;
        }
        if cells.iter().all(|cell| cell.chars().all(|c| c == '-')) {
            continue;
        }
        if cells.len() != columns.len() || cells.contains(&"") {
            complain("an empty cell, or not a cell for each column");
            continue;
        }
        match (parts(cells[0]), last) {
            (None, _) => complain("not a number"),
            (Some(number), Some(last)) if number.0 != last.0 || number.1 <= last.1 => {
                complain("out of order, given twice, or of another group");
            }
            (Some((letter, _)), None) if !letters.insert(letter) => {
                complain("a letter that another group has");
            }
            _ => {}
        }
        last = parts(cells[0]).or(last);
        let Some(tests) = cells.last().and_then(|cell| names(cell)) else {
            complain("no test, or not a list of names");
            continue;
        };
        let linux = columns.iter().position(|column| *column == "Linux");
        let linux = linux.map(|column| cells[column].to_owned());
        rows.push(Row { number: cells[0].to_owned(), linux, tests });
    }
    let numbers: BTreeSet<_> = rows.iter().map(|row| row.number.clone()).collect();
    for row in &rows {
        let Some(linux) = row.linux.as_deref().filter(|linux| *linux != "yes") else { continue };
        for other in linux.split(',').map(str::trim) {
            if !other.starts_with('D') || !numbers.contains(other) {
                wrong.push(format!("{}: \"{other}\" is neither yes nor a difference", row.number));
            }
        }
    }
    (rows, wrong)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder of tests");
    let paths = entries.map(|entry| entry.expect("entry").path());
    let found: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    assert!(!found.is_empty(), "no {extension} file in {folder}");
    found
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("stem").to_str().expect("UTF-8").to_owned()
}

/// The cases of a C file: TEST(name) leaves a test_register_name behind,
/// whatever macro it stood in.
fn cases(path: &Path) -> BTreeSet<String> {
    let output = Command::new("cc")
        .args(["-E", "-P", "-std=c11", "-D_GNU_SOURCE", "-I"])
        .arg(root().join("include"))
        .arg("-I")
        .arg(root().join("tests/c"))
        .arg(path)
        .output()
        .expect("cc");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", path.display());
    let source = String::from_utf8_lossy(&output.stdout);
    source
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter_map(|word| word.strip_prefix("test_register_"))
        .map(str::to_owned)
        .collect()
}

/// What the tests of a Rust file are called.
#[derive(Default)]
struct RustTests {
    names: BTreeSet<String>,
    /// Names that are put together, as segments: None stands for any of
    /// `words`.
    patterns: Vec<Vec<Option<String>>>,
    words: BTreeSet<String>,
}

impl RustTests {
    fn of(source: &str) -> RustTests {
        let mut found = RustTests::default();
        let mut marked = false;
        for line in source.lines() {
            let code = line.trim();
            if let Some(rest) = code.strip_prefix("fn ").filter(|_| marked) {
                found.names.extend(rest.split('(').next().map(str::to_owned));
                marked = false;
            }
            marked |= code == "#[test]";
            let literals: Vec<_> = code.split('"').skip(1).step_by(2).collect();
            if code.contains(".trial(\"") {
                found.names.extend(literals.first().map(|name| (*name).to_owned()));
            } else if code.contains("format!(\"") {
                found.patterns.extend(literals.iter().filter_map(|literal| pattern(literal)));
            }
            found.words.extend(literals.into_iter().map(str::to_owned));
        }
        found
    }

    fn has(&self, name: &str) -> bool {
        let segments: Vec<_> = name.split("::").collect();
        let fits = |pattern: &Vec<Option<String>>| {
            pattern.len() == segments.len()
                && pattern.iter().zip(&segments).all(|(wanted, segment)| match wanted {
                    Some(wanted) => wanted == segment,
                    None => self.words.contains(*segment),
                })
        };
        self.names.contains(name) || self.patterns.iter().any(fits)
    }
}

/// "header::{compiler}::{how}", if it is the like of that.
fn pattern(literal: &str) -> Option<Vec<Option<String>>> {
    let segments: Vec<_> = literal.split("::").collect();
    let variable = |segment: &str| segment.starts_with('{') && segment.ends_with('}');
    let plain = |segment: &str| !segment.is_empty() && !segment.contains(['{', '}', ' ']);
    let good = plain(segments.first()?)
        && segments.len() > 1
        && segments.iter().all(|segment| plain(segment) || variable(segment));
    good.then(|| segments.into_iter().map(|part| plain(part).then(|| part.to_owned())).collect())
}

/// All tests that a row may name.
struct Tests {
    c: BTreeSet<String>,
    rust: Vec<(String, RustTests)>,
}

impl Tests {
    fn find() -> Tests {
        let mut c = BTreeSet::new();
        for (folder, prefix) in [("tests/c", ""), ("tests/faults", ""), ("tests/abi", "abi::")] {
            for path in files(folder, "c") {
                let stem = stem(&path);
                c.extend(cases(&path).into_iter().map(|case| format!("{prefix}{stem}::{case}")));
            }
        }
        let rust = files("tests", "rs").into_iter().map(|path| {
            let source = fs::read_to_string(&path).expect("readable");
            (stem(&path), RustTests::of(&source))
        });
        Tests { c, rust: rust.collect() }
    }

    fn has(&self, name: &str) -> bool {
        let in_rust = |(stem, tests): &(String, RustTests)| {
            name.strip_prefix(stem.as_str())
                .and_then(|rest| rest.strip_prefix("::"))
                .is_some_and(|rest| tests.has(rest))
        };
        self.c.contains(name) || self.rust.iter().any(in_rust)
    }
}

fn document() -> String {
    fs::read_to_string(root().join("BEHAVIOUR.md")).expect("BEHAVIOUR.md")
}

#[test]
fn every_row_has_a_number_of_its_own_and_a_test() {
    let (rows, wrong) = read(&document());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.len() > 100, "only {} rows were found", rows.len());
}

#[test]
fn every_test_named_exists() {
    let tests = Tests::find();
    let (rows, _) = read(&document());
    let missing: Vec<_> = rows
        .iter()
        .flat_map(|row| row.tests.iter().map(move |test| (row, test)))
        .filter(|(_, test)| !tests.has(test))
        .map(|(row, test)| format!("{}: there is no {test}", row.number))
        .collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A difference that is pinned down and not told would be a surprise.
#[test]
fn every_limit_is_told() {
    let tests = Tests::find();
    let (rows, _) = read(&document());
    let told: BTreeSet<_> = rows.iter().flat_map(|row| &row.tests).collect();
    let limits: Vec<_> = tests.c.iter().filter(|name| name.starts_with("limits::")).collect();
    assert!(!limits.is_empty(), "tests/c/limits.c has no case");
    let untold: Vec<_> = limits.iter().filter(|name| !told.contains(*name)).collect();
    assert!(untold.is_empty(), "in no row: {untold:?}");
}

/// The checks above can fail.
#[test]
fn mistakes_are_noticed() {
    const HEAD: &str = "| Row | Rule | Linux | Tests |\n|---|---|---|---|\n";
    let good =
        format!("{HEAD}| C1 | So. | yes | `a::b`, `c::d::e` |\n| C3 | So. | D1 | `a::b` |\n");
    let other = "\n| Row | What | Tests |\n|---|---|---|\n| D1 | So. | `a::b` |\n";
    let (rows, wrong) = read(&format!("Text.\n\n{good}{other}"));
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(rows.iter().map(|row| row.tests.len()).collect::<Vec<_>>(), [2, 1, 1]);
    let lines = [
        "| C3 | So. | yes | `a::b` |",
        "| C2 | So. | yes | `a::b` |",
        "| R9 | So. | yes | `a::b` |",
        "| C  | So. | yes | `a::b` |",
        "|    | So. | yes | `a::b` |",
        "| C9 |     | yes | `a::b` |",
        "| C9 | So. | yes |        |",
        "| C9 | So. | yes | a::b   |",
        "| C9 | So. | yes | `a`    |",
        "| C9 | So. | yes | `a::b`, |",
        "| C9 | So. | yes |",
        "| C9 | So. | no  | `a::b` |",
        "| C9 | So. | D2  | `a::b` |",
        "| C9 | So. | C1  | `a::b` |",
    ];
    for line in lines {
        let (_, wrong) = read(&format!("{good}{line}\n{other}"));
        assert_eq!(wrong.len(), 1, "{line}: {wrong:?}");
    }
    let twice = format!("{good}{other}\n{HEAD}| C9 | So. | yes | `a::b` |\n");
    assert_eq!(read(&twice).1.len(), 1);
    assert_eq!(read("| Rule | Tests |\n|---|---|\n").1.len(), 1);

    let tests = Tests::find();
    // Of each way to make a test, one that is there and one that is not.
    for (there, not) in [
        ("read::file_growth_wakes_a_sleeper", "read::file_growth_wakes_a_sleepe"),
        (
            "read::tcp_half_close_is_eof_with_what_is_left",
            "read::half_close_is_eof_with_what_is_left",
        ),
        ("abi::errno::set_by_what_fails", "errno::set_by_what_fails"),
        ("abi::trace::shows_calls_with_names", "abi::trace::shows_calls"),
        ("abi::header::gcc::c89::alone", "abi::header::gcc::c90::alone"),
        ("behaviour::mistakes_are_noticed", "behaviour::pattern"),
    ] {
        assert!(tests.has(there), "{there} was not found");
        assert!(!tests.has(not), "{not} was found");
    }
}
