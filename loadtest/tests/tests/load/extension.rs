//! The Go module of k6: what signs is tested beside it, and both programs are k6 of the version that
//! the suite is made for.

use std::process::Command;

use heliograph_loadtest::module;
use heliograph_sandbox::k6::VERSION;
use heliograph_testkit::tool::run;

use crate::bed::programs;

#[track_caller]
fn go(arguments: &[&str]) {
    let mut go = Command::new("go");
    go.args(arguments)
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .current_dir(module());
    run(&mut go, b"").success();
}

#[test]
fn what_signs_passes_its_own_tests() {
    if programs().is_none() {
        return;
    }
    // As the programs are built, so that nothing is compiled twice.
    go(&["vet", "-trimpath", "./..."]);
    go(&["test", "-trimpath", "./..."]);
}

#[test]
fn both_programs_are_the_k6_that_the_module_names() {
    let Some(programs) = programs() else {
        return;
    };
    let manifest = std::fs::read_to_string(module().join("go.mod")).unwrap();
    assert!(manifest.contains(&format!("go.k6.io/k6 {VERSION}")));
    for (program, signs) in [(&programs.stock, false), (&programs.signing, true)] {
        let said = run(Command::new(program).arg("version"), b"").success();
        let extension = said.stdout.contains("k6/x/nostr");
        assert_eq!(extension, signs, "{}", said.stdout);
    }
}
