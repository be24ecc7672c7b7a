//! A matcher that has yet to catch up with what was committed.

use super::*;

/// It is registered before it is answered, so it gets live what the matcher has yet to catch up with:
/// the gateway has to know what of that is gone by then.
#[tokio::test]
async fn an_answer_says_which_live_events_are_gone() {
    let bed = Bed::new();
    let note = event(1, 10, 1, &[], "deleted before the question");
    let deletion = event(1, 20, 5, &[&["e", &note.id().to_hex()]], "");
    *bed.commits.lock() = 2;
    let answer = bed.req(&[r#"{"kinds":[1]}"#], anyone());
    let catch_up = async {
        bed.announce(1, Committed::Winner(Arc::clone(&note)));
        bed.announce(2, Committed::Winner(deletion));
        bed.announce(3, Committed::Winner(event(1, 30, 7, &[], "under way")));
    };
    let (answer, ()) = tokio::join!(answer, catch_up);
    Bed::check(&answer, &[], EoseHint::Finish);
    let AnswerEnd::Eose(end) = answer.1 else {
        panic!("expected EOSE")
    };
    assert_eq!(end.gone, [*note.id()]);
    assert_eq!(bed.delivered.lock().len(), 1, "it came live meanwhile");
}
