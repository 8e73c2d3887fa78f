//! The soname, and the C header.
//!
//! The header goes to `OUT_DIR`; the source tree is never written. `make
//! header` copies it to `include/sys/event.h`, and a test compares the two.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkqueue.so.0");
        // A fork handler and signal handlers point into the library:
        // dlclose() must not unmap it.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,defs");
    }
    for input in ["build.rs", "cbindgen.toml", "src/event.rs", "src/capi/mod.rs"] {
        println!("cargo:rerun-if-changed={input}");
    }
    write_header(&PathBuf::from(env::var("OUT_DIR")?).join("event.h"))?;
    Ok(())
}

fn write_header(to: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let config = cbindgen::Config::from_file("cbindgen.toml")?;
    let mut text = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src("src/event.rs")
        .with_src("src/capi/mod.rs")
        .generate()?
        .write(&mut text);
    let text = String::from_utf8(text).map_err(|error| io::Error::other(error.to_string()))?;
    fs::write(to, tidy(&text))?;
    Ok(())
}

/// What cbindgen prints, as a C programmer would write it: bits in
/// hexadecimal, negative numbers in parentheses, stars before comment lines,
/// and no words that only a Rust caller needs.
fn tidy(text: &str) -> String {
    let mut tidied = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let by_hand = lines.peek().is_none_or(|next| next.trim_start().starts_with('*'));
        if line.trim() != "/*" || by_hand {
            tidied += &constant(line);
            tidied.push('\n');
            continue;
        }
        let indent = &line[..line.len() - 2];
        let words: Vec<_> =
            lines.by_ref().map(str::trim).take_while(|word| *word != "*/").collect();
        let said = words.iter().take_while(|word| **word != "# Safety");
        let said = said.copied().collect::<Vec<_>>().join("\n");
        tidied += &format!("{indent}/*\n");
        for word in said.trim_end().lines() {
            let word = word.replace('`', "");
            tidied += format!("{indent} * {word}").trim_end();
            tidied.push('\n');
        }
        tidied += &format!("{indent} */\n");
    }
    tidied.replace("\n\n\n", "\n\n")
}

/// `#define NAME number`, with the number as C has it.
fn constant(line: &str) -> String {
    let Some((name, value)) = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' '))
    else {
        return line.to_owned();
    };
    let value = match value.parse::<i64>() {
        Ok(number) if number < 0 => format!("({number})"),
        Ok(number) if name.starts_with("EV_") || name.starts_with("NOTE_") => {
            format!("0x{number:04x}")
        }
        _ => value.to_owned(),
    };
    format!("#define {name} {value}")
}
