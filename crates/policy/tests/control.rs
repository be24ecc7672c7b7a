//! What operators decide while the relay runs: over the configuration, for writes and for answers.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use heliograph_policy::{
    ControlRules, EventLimits, LiveControl, NetworkSet, Reader, RelayUrls, Visibility, WriteRules,
    admit_event,
};
use heliograph_protocol::{Event, Kind, PublicKey, Timestamp};
use heliograph_testkit::keys::Key;

const NOW: u64 = 1_767_225_600;
const ALICE: usize = 0;
const BOB: usize = 1;

fn key(n: usize) -> PublicKey {
    Key::nth(n).public()
}

fn reader(keys: &[usize]) -> Reader {
    Reader {
        keys: keys.iter().map(|n| key(*n)).collect(),
    }
}

fn urls() -> RelayUrls {
    RelayUrls::parse(&["wss://relay.example.com"]).expect("a relay URL")
}

fn note(author: usize) -> Event {
    Key::nth(author).note(NOW, "hello")
}

fn kind(author: usize, kind: u16, tags: &[&[&str]]) -> Event {
    Key::nth(author).sign(NOW, kind, tags, "")
}

fn kinds(kinds: &[u16]) -> BTreeSet<Kind> {
    kinds.iter().copied().map(Kind::new).collect()
}

fn with_rules(rules: &WriteRules, control: ControlRules) -> EventLimits {
    EventLimits {
        write: WriteRules {
            control: LiveControl::new(control),
            ..rules.clone()
        },
        ..EventLimits::default()
    }
}

/// `answer` is empty for "taken", else the refusal.
#[track_caller]
fn check(event: &Event, limits: &EventLimits, who: &[usize], answer: &str) {
    let now = Timestamp::from_secs(NOW);
    let admitted = admit_event(event, limits, &urls(), &reader(who), now);
    let text = admitted.err().map(|refusal| refusal.to_string());
    assert_eq!(
        text.as_deref().unwrap_or_default(),
        answer,
        "{}",
        event.as_str()
    );
}

fn open() -> WriteRules {
    WriteRules::default()
}

fn ban(n: usize, reason: Option<&str>) -> ControlRules {
    ControlRules {
        pubkeys_banned: HashMap::from([(key(n), reason.map(Arc::from))]),
        ..ControlRules::default()
    }
}

fn allow(n: usize) -> ControlRules {
    ControlRules {
        pubkeys_allowed: HashSet::from([key(n)]),
        ..ControlRules::default()
    }
}

fn admit(n: usize, until: Option<u64>) -> ControlRules {
    ControlRules {
        pubkeys_admitted: HashMap::from([(key(n), until.map(Timestamp::from_secs))]),
        ..ControlRules::default()
    }
}

#[test]
fn without_decisions_nothing_changes() {
    check(
        &note(ALICE),
        &with_rules(&open(), ControlRules::default()),
        &[],
        "",
    );
}

#[test]
fn nothing_is_taken_before_the_decisions_have_been_read() {
    let limits = with_rules(&open(), ControlRules::unread());
    check(
        &note(ALICE),
        &limits,
        &[],
        "error: the rules of this relay aren't known yet",
    );
    let vanish = kind(ALICE, 62, &[&["relay", "ALL_RELAYS"]]);
    check(
        &vanish,
        &limits,
        &[],
        "error: the rules of this relay aren't known yet",
    );
    limits.write.control.store(Arc::default());
    check(&note(ALICE), &limits, &[], "");
}

#[test]
fn a_banned_key_may_not_write_for_the_reason_given() {
    check(
        &note(ALICE),
        &with_rules(&open(), ban(ALICE, Some("spam"))),
        &[],
        "blocked: spam",
    );
    let limits = with_rules(&open(), ban(ALICE, None));
    check(
        &note(ALICE),
        &limits,
        &[],
        "blocked: this key is banned here",
    );
    check(&note(BOB), &limits, &[], "");
    check(
        &note(BOB),
        &limits,
        &[ALICE],
        "blocked: this key is banned here",
    );
}

#[test]
fn a_ban_wins_over_every_list() {
    let control = ControlRules {
        pubkeys_allowed: HashSet::from([key(ALICE)]),
        pubkeys_admitted: HashMap::from([(key(ALICE), None)]),
        ..ban(ALICE, None)
    };
    let configured = WriteRules {
        pubkeys_allowed: Some(HashSet::from([key(ALICE)])),
        ..open()
    };
    let limits = with_rules(&configured, control);
    check(
        &note(ALICE),
        &limits,
        &[],
        "blocked: this key is banned here",
    );
}

#[test]
fn a_banned_key_may_still_vanish() {
    let vanish = kind(ALICE, 62, &[&["relay", "ALL_RELAYS"]]);
    check(&vanish, &with_rules(&open(), ban(ALICE, None)), &[], "");
}

#[test]
fn a_banned_event_is_refused() {
    let event = note(ALICE);
    let control = ControlRules {
        events_banned: HashMap::from([(*event.id(), Some(Arc::from("illegal")))]),
        ..ControlRules::default()
    };
    let limits = with_rules(&open(), control);
    check(&event, &limits, &[], "blocked: illegal");
    check(&Key::nth(ALICE).note(NOW, "other"), &limits, &[], "");
}

#[test]
fn allowed_keys_close_an_open_relay_to_others() {
    let limits = with_rules(&open(), allow(ALICE));
    check(&note(ALICE), &limits, &[], "");
    check(
        &note(BOB),
        &limits,
        &[],
        "auth-required: only members may write here",
    );
    check(
        &note(BOB),
        &limits,
        &[BOB],
        "restricted: only members may write here",
    );
    check(&note(BOB), &limits, &[ALICE], "");
    assert!(limits.write.are_restricted());
    assert!(!open().are_restricted());
}

#[test]
fn allowed_keys_add_to_those_of_the_configuration() {
    let configured = WriteRules {
        pubkeys_allowed: Some(HashSet::from([key(BOB)])),
        ..open()
    };
    let limits = with_rules(&configured, allow(ALICE));
    check(&note(ALICE), &limits, &[], "");
    check(&note(BOB), &limits, &[], "");
    check(
        &note(2),
        &limits,
        &[],
        "auth-required: only members may write here",
    );
}

#[test]
fn a_key_that_the_configuration_blocks_stays_blocked() {
    let configured = WriteRules {
        pubkeys_blocked: HashSet::from([key(ALICE)]),
        ..open()
    };
    check(
        &note(ALICE),
        &with_rules(&configured, allow(ALICE)),
        &[],
        "blocked: this key may not write here",
    );
}

#[test]
fn admitted_keys_may_write_until_their_time_and_close_nothing() {
    let closed = WriteRules {
        pubkeys_allowed: Some(HashSet::from([key(BOB)])),
        ..open()
    };
    check(
        &note(ALICE),
        &with_rules(&closed, admit(ALICE, None)),
        &[],
        "",
    );
    check(
        &note(ALICE),
        &with_rules(&closed, admit(ALICE, Some(NOW + 1))),
        &[],
        "",
    );
    check(
        &note(ALICE),
        &with_rules(&closed, admit(ALICE, Some(NOW))),
        &[],
        "auth-required: only members may write here",
    );
    check(&note(2), &with_rules(&open(), admit(ALICE, None)), &[], "");
}

#[test]
fn kinds_are_a_union_of_what_is_allowed_and_a_union_of_what_is_blocked() {
    let control = |allowed: &[u16], blocked: &[u16]| ControlRules {
        kinds_allowed: kinds(allowed),
        kinds_blocked: kinds(blocked),
        ..ControlRules::default()
    };
    let configured = |allowed: Option<&[u16]>, blocked: &[u16]| WriteRules {
        kinds_allowed: allowed.map(kinds),
        kinds_blocked: kinds(blocked),
        ..open()
    };
    let no = "blocked: kind 1 isn't taken here";
    for (rules, control, answer) in [
        (configured(None, &[]), control(&[1], &[]), ""),
        (configured(None, &[]), control(&[7], &[]), no),
        (configured(Some(&[7]), &[]), control(&[1], &[]), ""),
        (configured(Some(&[1]), &[]), control(&[7], &[]), ""),
        (configured(Some(&[1]), &[]), control(&[], &[]), ""),
        (configured(Some(&[1]), &[]), control(&[], &[1]), no),
        (configured(None, &[1]), control(&[1], &[]), no),
        (configured(None, &[]), control(&[1], &[1]), no),
    ] {
        check(&note(ALICE), &with_rules(&rules, control), &[], answer);
    }
}

#[track_caller]
fn check_sees(event: &Event, control: &ControlRules, who: &[usize], sees: bool) {
    let visibility = Visibility {
        urls: urls(),
        control: LiveControl::new(control.clone()),
    };
    assert_eq!(
        reader(who).may_see(event, &visibility),
        sees,
        "{}",
        event.as_str()
    );
    // The short cut says yes only where everyone may see.
    assert!(sees || !visibility.is_public(event));
}

#[test]
fn events_of_a_banned_author_are_shown_to_nobody() {
    let banned = ban(ALICE, None);
    check_sees(&note(ALICE), &banned, &[], false);
    check_sees(&note(ALICE), &banned, &[ALICE], false);
    check_sees(&note(BOB), &banned, &[], true);
    check_sees(
        &kind(BOB, 1, &[&["p", &Key::nth(ALICE).hex()]]),
        &banned,
        &[],
        true,
    );
}

#[test]
fn a_banned_event_is_shown_to_nobody() {
    let event = note(ALICE);
    let banned = ControlRules {
        events_banned: HashMap::from([(*event.id(), None)]),
        ..ControlRules::default()
    };
    check_sees(&event, &banned, &[ALICE], false);
    check_sees(&note(BOB), &banned, &[], true);
}

#[test]
fn a_gift_wrap_is_hidden_by_its_author_alone() {
    let wrap = kind(ALICE, 1059, &[&["p", &Key::nth(BOB).hex()]]);
    check_sees(&wrap, &ControlRules::default(), &[BOB], true);
    check_sees(&wrap, &ban(BOB, None), &[BOB], true);
    check_sees(&wrap, &ban(ALICE, None), &[BOB], false);
}

#[test]
fn unread_decisions_hide_nothing() {
    check_sees(&note(ALICE), &ControlRules::unread(), &[], true);
}

#[test]
fn a_new_state_is_in_force_for_everyone_who_holds_the_place() {
    let place = LiveControl::default();
    let visibility = Visibility {
        urls: urls(),
        control: place.clone(),
    };
    assert!(visibility.is_public(&note(ALICE)));
    place.store(Arc::new(ban(ALICE, None)));
    assert!(!visibility.is_public(&note(ALICE)));
    assert!(!Reader::default().may_see(&note(ALICE), &visibility));
}

#[test]
fn addresses_of_banned_networks_are_refused() {
    let mut networks = NetworkSet::default();
    assert!(networks.is_empty() && networks.check([10, 0, 0, 1].into()).is_ok());
    for (network, reason) in [
        ("10.0.0.0/8", Some("scrapers")),
        ("10.1.0.0/16", Some("worse scrapers")),
        ("192.0.2.1", None),
        ("2001:db8::/32", None),
    ] {
        networks.insert(network.parse().expect("a network"), reason.map(Arc::from));
    }
    assert_eq!(networks.len(), 4);
    for (address, answer) in [
        ("10.2.0.1", "blocked: scrapers"),
        ("10.1.0.1", "blocked: worse scrapers"),
        ("::ffff:10.1.0.1", "blocked: worse scrapers"),
        ("192.0.2.1", "blocked: this address is banned here"),
        ("2001:db8:1::1", "blocked: this address is banned here"),
        ("192.0.2.2", ""),
        ("11.0.0.1", ""),
        ("2001:db9::1", ""),
        ("::1", ""),
    ] {
        let refused = networks.check(address.parse().expect("an address")).err();
        let text = refused
            .map(|refusal| refusal.to_string())
            .unwrap_or_default();
        assert_eq!(text, answer, "{address}");
    }
}
