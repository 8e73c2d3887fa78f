//! What more than one test needs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Runs the command, which must succeed; what it wrote to standard output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `make TARGET VARIABLES...`, with the profile and the build directory of this
/// very test, so that nothing is built twice.
#[track_caller]
pub(crate) fn make<S: AsRef<OsStr>>(target: &str, variables: &[S]) {
    let exe = std::env::current_exe().expect("own path");
    let target_dir = exe.ancestors().nth(3).expect("target/PROFILE/deps/test");
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    run(Command::new("make")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // Options and variables of a make that runs us are not meant for this one.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .env("CARGO_TARGET_DIR", target_dir)
        .arg(target)
        .arg(format!("PROFILE={profile}"))
        .args(variables));
}

pub(crate) fn variable(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}
