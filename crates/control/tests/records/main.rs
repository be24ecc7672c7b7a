//! Control records on real NATS servers: in force in time, through faults, and with records of other
//! versions.

mod bed;

use std::time::Duration;

use heliograph_control::{Command, ControlError, ReadState, Record, RecordKey};
use heliograph_policy::Reader;
use heliograph_protocol::{Kind, PublicKey};
use heliograph_sandbox::nats::{Nats, NatsOptions};
use heliograph_testkit::keys::Key;

use crate::bed::{Bed, IN_FORCE, NOW, connect, now, unique};

fn alice() -> PublicKey {
    Key::nth(0).public()
}

fn bob() -> PublicKey {
    Key::nth(1).public()
}

fn ban(reason: &str) -> Command {
    Command::BanPubkey {
        pubkey: alice(),
        reason: Some(reason.to_owned()),
    }
}

/// The lines that a command answers with.
async fn run(bed: &Bed, command: Command) -> Vec<String> {
    command.run(&bed.store, now()).await.expect("done")
}

#[tokio::test]
async fn an_empty_bucket_is_read_too() {
    let bed = Bed::shared().await;
    let mut follower = bed.follow();
    assert_eq!(follower.read(), ReadState::Unread);
    assert_eq!(
        follower.admit(0),
        "error: the rules of this relay aren't known yet"
    );
    follower
        .until(IN_FORCE, |state| state.read == ReadState::Current)
        .await;
    assert_eq!(follower.admit(0), "");
    assert_eq!(follower.metric("read"), 1);
    assert_eq!(follower.metric("current"), 1);
}

#[tokio::test]
async fn a_change_is_in_force_on_two_followers_within_two_seconds() {
    let bed = Bed::shared().await;
    let mut followers = [bed.follow(), bed.follow()];
    for follower in &mut followers {
        follower.current().await;
    }
    run(&bed, ban("spam")).await;
    for follower in &mut followers {
        follower
            .until(IN_FORCE, |state| {
                state.rules.pubkeys_banned.contains_key(&alice())
            })
            .await;
        assert_eq!(follower.admit(0), "blocked: spam");
        assert_eq!(follower.admit(1), "");
        let visibility = follower.visibility();
        let (hers, his) = (Key::nth(0).note(NOW, ""), Key::nth(1).note(NOW, ""));
        assert!(!Reader::default().may_see(&hers, &visibility));
        assert!(Reader::default().may_see(&his, &visibility));
        assert_eq!(follower.metric("records"), 1);
    }
    run(&bed, Command::UnbanPubkey(alice())).await;
    for follower in &mut followers {
        follower
            .until(IN_FORCE, |state| state.rules.pubkeys_banned.is_empty())
            .await;
        assert_eq!(follower.admit(0), "");
    }
}

#[tokio::test]
async fn a_follower_that_starts_later_knows_everything() {
    let bed = Bed::shared().await;
    run(&bed, ban("spam")).await;
    run(&bed, ban("worse spam")).await;
    run(&bed, Command::BlockKind(Kind::new(7))).await;
    run(&bed, Command::AllowPubkey(bob())).await;
    run(&bed, Command::DisallowPubkey(bob())).await;
    run(&bed, Command::Name(Some("Harbour".to_owned()))).await;
    let mut follower = bed.follow();
    follower.current().await;
    let rules = follower.rules();
    assert_eq!(
        rules.pubkeys_banned[&alice()].as_deref(),
        Some("worse spam")
    );
    assert!(rules.kinds_blocked.contains(&Kind::new(7)));
    assert!(rules.pubkeys_allowed.is_empty());
    assert_eq!(rules.relay.name.as_deref(), Some("Harbour"));
}

#[tokio::test]
async fn an_admission_ends_without_a_new_record() {
    let bed = Bed::shared().await;
    let mut follower = bed.follow();
    follower.current().await;
    run(&bed, Command::AllowPubkey(bob())).await;
    let until = now().plus(1_000);
    let admit = Command::AdmitPubkey {
        pubkey: alice(),
        until: Some(until),
    };
    run(&bed, admit).await;
    follower
        .until(IN_FORCE, |state| !state.rules.pubkeys_admitted.is_empty())
        .await;
    assert_eq!(follower.admit_at(0, until.minus(1)), "");
    assert_eq!(
        follower.admit_at(0, until),
        "auth-required: only members may write here"
    );
    assert_eq!(follower.admit_at(1, until), "");
    run(&bed, Command::DismissPubkey(alice())).await;
    follower
        .until(IN_FORCE, |state| state.rules.pubkeys_admitted.is_empty())
        .await;
    assert_eq!(
        follower.admit_at(0, until.minus(1)),
        "auth-required: only members may write here"
    );
}

#[tokio::test]
async fn records_of_other_versions_are_kept_and_ignored() {
    let bed = Bed::shared().await;
    let ban_key = RecordKey::BanPubkey(alice()).to_string();
    bed.put("ban.word.casino", "{\"x\":1}").await;
    bed.put(&ban_key, r#"{"reason":"spam","scope":"dm"}"#).await;
    let mut follower = bed.follow();
    follower.current().await;
    assert_eq!(follower.metric("records"), 1);
    assert_eq!(follower.metric("records_ignored"), 1);
    assert_eq!(follower.admit(0), "blocked: spam");

    run(&bed, ban("other")).await;
    assert!(bed.get(&ban_key).await.contains(r#""scope":"dm""#));
    assert_eq!(bed.get("ban.word.casino").await, "{\"x\":1}");
    let listed = run(&bed, Command::List).await;
    let hex = alice().to_hex();
    assert_eq!(
        listed,
        [
            format!("ban pubkey {hex}: other"),
            "not understood: ban.word.casino {\"x\":1}".to_owned()
        ]
    );
}

#[tokio::test]
async fn the_tool_says_what_it_did() {
    let bed = Bed::shared().await;
    let network = "10.0.0.0/8".parse().unwrap();
    let ban = Command::BanNetwork {
        network,
        reason: None,
    };
    assert_eq!(run(&bed, ban).await, ["ban ip 10.0.0.0/8"]);
    let unban = || Command::UnbanNetwork(network);
    assert_eq!(run(&bed, unban()).await, ["removed ban.ip.10-0-0-0/8"]);
    assert_eq!(run(&bed, unban()).await, ["there is no such record"]);

    run(&bed, Command::BlockKind(Kind::new(1))).await;
    run(&bed, Command::AllowKind(Kind::new(1))).await;
    assert_eq!(run(&bed, Command::List).await, ["allow kind 1"]);
    let cleared = run(&bed, Command::ClearKind(Kind::new(1))).await;
    assert!(
        cleared.last().unwrap().contains("every kind is taken"),
        "{cleared:?}"
    );

    let name = Command::Name(Some("x".repeat(30)));
    let error = name.run(&bed.store, now()).await.unwrap_err();
    assert!(matches!(&error, ControlError::Invalid(_)), "{error}");
    assert!(run(&bed, Command::List).await.is_empty());
}

#[tokio::test]
async fn many_changes_at_once_are_all_taken() {
    let bed = Bed::shared().await;
    let mut follower = bed.follow();
    follower.current().await;
    for n in 0..200 {
        bed.put(&format!("kind.block.{n}"), "{}").await;
    }
    follower
        .until(IN_FORCE, |state| state.rules.kinds_blocked.len() == 200)
        .await;
    assert_eq!(follower.metric("changes_total"), 200);
    assert_eq!(follower.metric("loads_total"), 1);
}

#[tokio::test]
async fn a_bucket_that_is_gone_lifts_no_ban() {
    let bed = Bed::shared().await;
    run(&bed, ban("spam")).await;
    let mut follower = bed.follow();
    follower.current().await;
    bed.delete_bucket().await;
    follower
        .until(Duration::from_secs(10), |state| {
            matches!(state.read, ReadState::Stale(_))
        })
        .await;
    // It looks again, and doesn't make the bucket anew.
    follower.until_metric("failures_total", 3).await;
    assert_eq!(follower.admit(0), "blocked: spam");
    // Someone makes it anew: that is a decision.
    bed.store.open().await.expect("a bucket");
    follower.current().await;
    assert_eq!(follower.admit(0), "");
}

#[tokio::test]
async fn wiping_the_stream_below_is_noticed() {
    let bed = Bed::shared().await;
    run(&bed, ban("spam")).await;
    let mut follower = bed.follow();
    follower.current().await;
    bed.wipe_stream().await;
    follower
        .until(Duration::from_secs(10), |state| {
            state.rules.pubkeys_banned.is_empty()
        })
        .await;
}

#[tokio::test]
async fn two_writers_of_one_record_both_succeed() {
    let bed = Bed::shared().await;
    bed.store.open().await.expect("a bucket");
    let record = |n: u32| Record::new(RecordKey::BanPubkey(alice())).reason(Some(n.to_string()));
    let (first, second) = (record(1), record(2));
    let (first, second) = tokio::join!(bed.store.set(&first), bed.store.set(&second));
    first.expect("written");
    second.expect("written");
}

#[tokio::test]
async fn two_processes_that_make_the_bucket_at_once_share_it() {
    let bed = Bed::shared().await;
    let (first, second) = tokio::join!(bed.store.open(), bed.store.open());
    first.expect("open");
    second.expect("open");
}

#[tokio::test]
async fn while_the_server_is_away_nothing_is_read_and_writes_are_refused() {
    let nats = Nats::start(&NatsOptions::default()).expect("a NATS server");
    nats.kill(0);
    let bed = Bed::new(connect(&nats.url()).await, &unique());
    let mut follower = bed.follow();
    // Two looks at the server that isn't there.
    follower.until_metric("failures_total", 2).await;
    assert_eq!(follower.read(), ReadState::Unread);
    assert!(
        follower.admit(0).starts_with("error: "),
        "{}",
        follower.admit(0)
    );
    assert!(
        bed.store
            .set(&Record::new(RecordKey::BlockKind(Kind::new(1))))
            .await
            .is_err()
    );
    nats.restart(0).expect("a server again");
    follower.current().await;
    assert_eq!(follower.admit(0), "");
}

#[tokio::test]
async fn a_role_that_starts_before_the_servers_can_answer_waits_for_them() {
    let nats = Nats::start(&NatsOptions::default()).expect("a NATS server");
    let bed = Bed::new(connect(&nats.url()).await, &unique());
    nats.kill(0);
    let refused = bed.store.open_within(Duration::ZERO).await;
    assert!(refused.is_err(), "there is no server");
    let restart = async { nats.restart(0).expect("a server again") };
    let (opened, ()) = tokio::join!(bed.store.open_within(Duration::from_mins(1)), restart);
    opened.expect("open");
}

#[tokio::test]
async fn after_a_restart_of_the_server_what_was_missed_is_in_force() {
    let nats = Nats::start(&NatsOptions::default()).expect("a NATS server");
    let cluster = unique();
    let bed = Bed::new(connect(&nats.url()).await, &cluster);
    run(&bed, ban("spam")).await;
    let mut follower = bed.follow();
    follower.current().await;

    nats.kill(0);
    follower
        .until(Duration::from_secs(10), |state| {
            matches!(state.read, ReadState::Stale(_))
        })
        .await;
    assert_eq!(follower.admit(0), "blocked: spam", "the last rules hold");
    assert_eq!(follower.metric("current"), 0);
    assert_eq!(follower.metric("read"), 1);

    nats.restart(0).expect("a server again");
    let other = Bed::new(connect(&nats.url()).await, &cluster);
    run(&other, Command::UnbanPubkey(alice())).await;
    run(&other, Command::BlockKind(Kind::new(7))).await;
    follower
        .until(Duration::from_secs(20), |state| {
            state.read == ReadState::Current && !state.rules.kinds_blocked.is_empty()
        })
        .await;
    assert_eq!(follower.admit(0), "");
}

#[tokio::test]
async fn a_server_that_hangs_makes_the_rules_stale() {
    let nats = Nats::start(&NatsOptions::default()).expect("a NATS server");
    let bed = Bed::new(connect(&nats.url()).await, &unique());
    let mut follower = bed.follow();
    follower.current().await;
    nats.pause(0);
    follower
        .until(Duration::from_secs(10), |state| {
            matches!(state.read, ReadState::Stale(_))
        })
        .await;
    nats.resume(0);
    follower.current().await;
}

#[tokio::test]
async fn a_follower_stops_when_it_is_told() {
    let bed = Bed::shared().await;
    let mut follower = bed.follow();
    follower.current().await;
    let left = follower.stop().await;
    assert_eq!(left, 0);
}
