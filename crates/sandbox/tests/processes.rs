//! A child dies with the value that started it, and with the process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use heliograph_sandbox::{
    Error,
    process::{Launch, Process},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Launch {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let name = script.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    Launch {
        name: "script".to_owned(),
        program: "sh".into(),
        arguments: vec!["-c".into(), script.into()],
        variables: vec![("SANDBOX_SAID".to_owned(), "here".to_owned())],
        hide_variables: "SANDBOX_HIDDEN",
        log: directory.join(format!("{name}.log")),
        directory,
    }
}

fn is_alive(pid: u32) -> bool {
    // A zombie that nobody has reaped yet still has its entry.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[track_caller]
fn assert_dies(pid: u32) {
    let dead = wait::until(PATIENCE, || Ok::<_, ()>((!is_alive(pid)).then_some(())));
    assert_eq!(dead, Ok(Some(())), "{pid} lives on");
}

/// The number that a script has printed.
fn printed(process: &Process) -> u32 {
    let number = wait::until(PATIENCE, || {
        Ok::<_, ()>(process.output().trim().parse().ok())
    });
    number
        .expect("asking can't fail")
        .expect("it prints a number")
}

#[test]
fn a_child_dies_with_its_value_and_takes_its_own_children_along() {
    let process = Process::start(&sh("sleep 1000 & echo $!; wait")).unwrap();
    let (pid, grandchild) = (process.pid(), printed(&process));
    assert!(is_alive(pid) && is_alive(grandchild));
    drop(process);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is reaped");
    assert_dies(grandchild);
}

/// Not a test: what the next one kills.
#[test]
#[ignore = "runs as the process that a_child_dies_with_its_process kills"]
fn parent() {
    let process = Process::start(&sh("echo $$; exec sleep 1000")).unwrap();
    println!("child={}", printed(&process));
    drop(process.wait_for_end(Duration::from_secs(100)));
}

#[test]
fn a_child_dies_with_its_process() {
    let mut parent = sh("");
    parent.program = std::env::current_exe().unwrap();
    parent.arguments = ["--ignored", "--exact", "parent", "--nocapture"]
        .map(Into::into)
        .to_vec();
    let parent = Process::start(&parent).unwrap();
    let child = wait::until(PATIENCE, || {
        let output = parent.output();
        let child = output.split_once("child=").and_then(|(_, rest)| {
            let (number, _) = rest.split_once('\n')?;
            number.parse::<u32>().ok()
        });
        Ok::<_, ()>(child)
    });
    let child = child.unwrap().expect("the parent names its child");
    assert!(is_alive(child));
    // The child has a group of its own, so this doesn't reach it.
    parent.kill();
    assert_dies(child);
}

#[test]
fn an_early_end_is_reported_with_the_log() {
    let process = Process::start(&sh("echo no such thing >&2; exit 3")).unwrap();
    let error = process.wait_until("readiness", PATIENCE, |_| false);
    let Err(Error::Ended { status, log, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(
        status.contains('3') && log.contains("no such thing"),
        "{status} {log}"
    );
}

#[test]
fn a_missed_deadline_is_reported_with_the_log() {
    let process = Process::start(&sh("echo starting; exec sleep 1000")).unwrap();
    let error = process.wait_until("readiness", Duration::from_millis(300), |_| false);
    assert!(matches!(error, Err(Error::Timeout { log, .. }) if log == "starting"));
}

#[test]
fn terminate_returns_the_exit_code_even_of_a_paused_child() {
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done";
    let process = Process::start(&sh(script)).unwrap();
    process
        .wait_until("ready", PATIENCE, |process| process.output() == "ready\n")
        .unwrap();
    process.pause();
    assert_eq!(process.terminate(PATIENCE).unwrap().code(), Some(7));
    assert!(process.ended().is_some());
}

#[test]
fn a_child_that_ignores_sigterm_is_a_timeout() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    let process = Process::start(&sh(script)).unwrap();
    process
        .wait_until("ready", PATIENCE, |process| process.output() == "ready\n")
        .unwrap();
    let error = process.terminate(Duration::from_millis(200));
    assert!(matches!(error, Err(Error::Timeout { .. })));
}

#[test]
fn a_missing_program_is_an_error() {
    let mut launch = sh("");
    launch.program = "no-such-program-here".into();
    let result = Process::start(&launch).map(|process| process.wait_for_end(PATIENCE));
    match result {
        Err(_refused) => {}
        // Under setpriv it is setpriv that says so.
        Ok(ended) => assert_eq!(ended.unwrap().code(), Some(127)),
    }
}

#[test]
fn variables_are_given_and_hidden() {
    let process = Process::start(&sh("echo \"$SANDBOX_SAID\"")).unwrap();
    process.wait_for_end(PATIENCE).unwrap();
    assert_eq!(process.output(), "here\n");
}
