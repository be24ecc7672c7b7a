//! Mutations of what one process and a cluster share, and of the embedded store.

use super::{
    Edit, Mutation,
    Needs::Nothing,
    Program::{self, Lib, Test},
    Tests,
};

const INGEST: &str = "services/ingest/src/pipeline.rs";
const MATCHING: &str = "services/matcher/src/matching.rs";
const RESUME: &str = "services/matcher/src/resume.rs";
const HUB: &str = "services/gateway/src/hub.rs";
const RECENT: &str = "crates/recent/src/state.rs";
const DISK: &str = "crates/store-embedded/src/disk.rs";
const LOG: &str = "crates/store-embedded/src/log.rs";
const REPLAY: &str = "crates/store-embedded/src/replay.rs";
const WRITER: &str = "crates/store-embedded/src/writer.rs";

/// The tests that cut the power.
const POWER: &[&str] =
    &["whatever_a_power_cut_leaves_of_the_unsynced_what_was_acknowledged_is_there"];

/// Where a batch of ingest is ready to be written.
const BEFORE_THE_WRITE: &str = "bus.begin_write();";

/// Tests that need no server.
const fn tests(package: &'static str, program: Program, names: &'static [&'static str]) -> Tests {
    Tests {
        package,
        program,
        names,
        needs: Nothing,
    }
}

const fn unit(package: &'static str, names: &'static [&'static str]) -> Tests {
    tests(package, Lib, names)
}

const fn edit(file: &'static str, old: &'static str, new: &'static str) -> Edit {
    Edit { file, old, new }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "fsync-removed",
        breaks: "OK true survives a power cut",
        edits: &[edit(
            LOG,
            "&& let Err(error) = self.sync_data()",
            "&& let Err(error) = Ok::<(), io::Error>(())",
        )],
        caught_by: &[unit("heliograph-store-embedded", POWER)],
    },
    Mutation {
        name: "fsync-that-does-nothing",
        breaks: "a sync reaches the system",
        edits: &[edit(DISK, "self.file.sync_data()", "Ok(())")],
        caught_by: &[unit(
            "heliograph-store-embedded",
            &["a_write_and_a_sync_reach_the_system"],
        )],
    },
    Mutation {
        name: "fsync-of-the-directory-removed",
        breaks: "a new log file survives a power cut",
        edits: &[edit(
            LOG,
            "file.sync()?;\n                self.disk.sync_dir(&self.dir)?;",
            "file.sync()?;",
        )],
        caught_by: &[unit("heliograph-store-embedded", POWER)],
    },
    Mutation {
        name: "fsync-of-what-was-read-back-removed",
        breaks: "what a restart has shown survives a power cut",
        edits: &[edit(
            REPLAY,
            "let unsynced = core.options.sync && ",
            "let unsynced = false && ",
        )],
        caught_by: &[unit("heliograph-store-embedded", POWER)],
    },
    Mutation {
        name: "shown-before-it-is-logged",
        breaks: "what isn't in the log never becomes visible",
        edits: &[
            edit(WRITER, "        self.append(&changes)?;\n", ""),
            edit(
                WRITER,
                "        let counters = &self.core.counters;\n        counters.groups",
                "        self.append(&changes)?;\n        let counters = &self.core.counters;\n        counters.groups",
            ),
        ],
        caught_by: &[unit(
            "heliograph-store-embedded",
            &["a_full_disk_at_fsync_refuses_the_write_and_shows_nothing"],
        )],
    },
    Mutation {
        name: "answered-although-the-log-failed",
        breaks: "OK true only for what is in the log",
        edits: &[edit(
            WRITER,
            "self.append(&changes)?;",
            "drop(self.append(&changes));",
        )],
        caught_by: &[unit(
            "heliograph-store-embedded",
            &["a_full_disk_refuses_the_write_and_later_ones_succeed"],
        )],
    },
    Mutation {
        name: "torn-tail-not-cut",
        breaks: "a crash in the middle of a record is no damage, at the next start or a later one",
        edits: &[edit(
            REPLAY,
            "if let Some(at) = cut {\n            file.cut(at)?;\n        }",
            "",
        )],
        caught_by: &[unit(
            "heliograph-store-embedded",
            &["a_torn_tail_is_cut_once_and_for_all"],
        )],
    },
    Mutation {
        name: "log-removed-before-the-database-has-it",
        breaks: "an event is in the log until the database has it",
        edits: &[edit(
            "crates/store-embedded/src/flusher.rs",
            "let vanishing = write_frozen(core, &frozen)?;",
            "remove_segments(&core.disk, &core.log_dir, frozen.segment)?;\n\
             let vanishing = write_frozen(core, &frozen)?;",
        )],
        caught_by: &[unit(
            "heliograph-store-embedded",
            &["closing_with_a_full_disk_keeps_everything_in_the_log"],
        )],
    },
    Mutation {
        name: "tie-broken-the-wrong-way-embedded",
        breaks: "of two versions of one second the lowest id wins",
        edits: &[edit(
            "crates/store-embedded/src/lookup.rs",
            "above.chain(stored).all(|seat| event.position() < seat)",
            "above.chain(stored).all(|seat| {\n\
             let (at, id) = event.position();\n\
             (at, seat.1) < (seat.0, id)\n})",
        )],
        caught_by: &[unit(
            "heliograph-store-embedded",
            &[
                "on_equal_times_the_lowest_id_wins",
                "versions_of_one_second",
            ],
        )],
    },
    Mutation {
        name: "acknowledged-before-the-store",
        breaks: "OK true comes after the store",
        edits: &[edit(
            INGEST,
            BEFORE_THE_WRITE,
            "bus.begin_write();\n\
             if true {\n\
             let outcome = Outcome::Stored;\n\
             for item in batch {\n\
             item.answer(Ok(Receipt { outcome, commit: Default::default() }));\n\
             }\n\
             let winners = events.iter().cloned().map(Committed::Winner).collect();\n\
             drop(store.write(events).await);\n\
             drop(bus.commit(winners).await);\n\
             return;\n\
             }",
        )],
        caught_by: &[unit(
            "heliograph-ingest",
            &["a_full_store_is_an_error_for_each_publisher_and_announces_nothing"],
        )],
    },
    Mutation {
        name: "live-matched-before-it-is-stored",
        breaks: "an event is stored before it is announced",
        edits: &[edit(
            INGEST,
            BEFORE_THE_WRITE,
            "bus.begin_write();\n\
             drop(bus.commit(events.iter().cloned().map(Committed::Winner).collect()).await);",
        )],
        caught_by: &[unit(
            "heliograph-ingest",
            &["a_full_store_is_an_error_for_each_publisher_and_announces_nothing"],
        )],
    },
    Mutation {
        name: "receipt-before-the-commit",
        breaks: "an event is announced before it is answered",
        edits: &[
            edit(
                INGEST,
                "let commit = bus.commit(changes).await;",
                "let changes: Vec<Committed> = changes;\n\
                 let commit: Result<heliograph_bus::CommitNumber, BusError> = bus.newest().await;",
            ),
            edit(
                INGEST,
                "item.answer(commit.clone().map(|commit| Receipt { outcome, commit }));\n    }",
                "item.answer(commit.clone().map(|commit| Receipt { outcome, commit }));\n    }\n\
                 drop(bus.commit(changes).await);",
            ),
        ],
        caught_by: &[unit(
            "heliograph-ingest",
            &["what_waits_is_one_batch_and_only_winners_are_announced"],
        )],
    },
    Mutation {
        name: "seat-not-announced",
        breaks: "a version that was deleted before it came supersedes older ones in every matcher",
        edits: &[edit(
            INGEST,
            "(Outcome::Deleted, _) if item.event().kind().has_address()",
            "(Outcome::Deleted, _) if false",
        )],
        caught_by: &[unit(
            "heliograph-ingest",
            &["a_deleted_version_of_an_address_is_announced_as_a_seat"],
        )],
    },
    Mutation {
        name: "duplicate-filter-off-live",
        breaks: "an event that is announced twice is delivered once",
        edits: &[edit(
            MATCHING,
            "Some(Applied::New) => {",
            "Some(Applied::New | Applied::Known) => {",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &[
                "a_loser_is_not_delivered_after_the_winner",
                "every_matcher_delivers_an_event_at_one_place_however_often_workers_announce_it",
            ],
        )],
    },
    Mutation {
        name: "duplicate-filter-off-ephemeral",
        breaks: "an ephemeral event that comes twice is delivered once",
        edits: &[edit(
            MATCHING,
            "if live.ephemeral.note(event.id()) && ",
            "live.ephemeral.note(event.id());\nif ",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &["an_ephemeral_event_that_is_sent_again_is_delivered_once"],
        )],
    },
    Mutation {
        name: "duplicate-filter-off-around-eose",
        breaks: "what the stored part had isn't repeated live",
        edits: &[edit(
            HUB,
            "if sent.insert(*event.id()) && ",
            "sent.insert(*event.id());\nif ",
        )],
        caught_by: &[unit(
            "heliograph-gateway",
            &["what_was_held_back_and_is_stored_goes_out_once"],
        )],
    },
    Mutation {
        name: "duplicate-filter-off-at-another-matcher",
        breaks: "what one matcher delivered isn't delivered by the next",
        edits: &[edit(
            HUB,
            "if place <= *last {",
            "if place <= *last && false {",
        )],
        caught_by: &[unit(
            "heliograph-gateway",
            &["a_place_that_was_delivered_is_not_delivered_by_another_matcher"],
        )],
    },
    Mutation {
        name: "loser-delivered-after-the-winner",
        breaks: "what was beaten isn't delivered after what beat it",
        edits: &[edit(
            MATCHING,
            "Some(Applied::New) => {",
            "Some(Applied::New | Applied::Lost) => {",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &["a_loser_is_not_delivered_after_the_winner"],
        )],
    },
    Mutation {
        name: "resumed-one-too-late",
        breaks: "a subscription that goes on at another matcher has no gap",
        edits: &[edit(
            RESUME,
            "position: Place::end_of(resume.from),",
            "position: Place::end_of(CommitNumber(resume.from.0 + 1)),",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &["what_came_after_the_last_number_is_delivered_then_what_comes"],
        )],
    },
    Mutation {
        name: "replay-brings-back-what-was-removed",
        breaks: "what was deleted or replaced isn't delivered again from the stream",
        edits: &[edit(
            RESUME,
            "if self.recent().beats(event) {",
            "if false && self.recent().beats(event) {",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &[
                "what_was_beaten_meanwhile_is_left_out_whether_it_comes_from_memory_or_from_the_stream",
            ],
        )],
    },
    Mutation {
        name: "eose-without-the-newest",
        breaks: "an answer holds everything that was committed before the question",
        edits: &[edit(
            MATCHING,
            "self.caught_up(open.after, &options).await?;",
            "drop(self.caught_up(open.after, &options));",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &[
                "a_question_waits_for_the_commit_that_it_has_to_see",
                "a_question_whose_commit_does_not_come_is_refused_not_answered_without_it",
            ],
        )],
    },
    Mutation {
        name: "floor-too-low-after-an-eviction",
        breaks: "every stored event from the floor on is in the recent tier",
        edits: &[edit(
            RECENT,
            "self.evicted_floor.max(entry.created_at.plus(1))",
            "self.evicted_floor.max(entry.created_at)",
        )],
        caught_by: &[unit(
            "heliograph-recent",
            &["random_histories_agree_with_the_archive"],
        )],
    },
    Mutation {
        name: "floor-too-low-while-warming",
        breaks: "a second that was read in part lies below the floor",
        edits: &[edit(
            RECENT,
            "|(time, _id)| time.0.plus(1)",
            "|(time, _id)| time.0",
        )],
        caught_by: &[unit(
            "heliograph-recent",
            &["random_histories_agree_with_the_archive"],
        )],
    },
    Mutation {
        name: "warming-brings-back-what-was-removed",
        breaks: "a page of the archive that has grown old brings nothing back",
        edits: &[edit(
            RECENT,
            "self.guards.remembers_since(since.guards)\n            && self.seats.remembers_since(since.seats)\n            && ",
            "",
        )],
        caught_by: &[unit(
            "heliograph-recent",
            &["a_page_older_than_what_is_remembered_is_read_again"],
        )],
    },
    Mutation {
        name: "expiry-ignored-live",
        breaks: "what expired on its way isn't delivered",
        edits: &[edit(
            MATCHING,
            "if !slots.is_empty() && !self.is_over(event) {",
            "if !slots.is_empty() {",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &["an_event_that_was_over_when_it_was_committed_is_not_delivered"],
        )],
    },
    Mutation {
        name: "expiry-ignored-in-what-was-missed",
        breaks: "the committed stream replayed brings back nothing that expired",
        edits: &[edit(
            RESUME,
            "if !slots.is_empty() && !self.is_over(event) {",
            "if !slots.is_empty() {",
        )],
        caught_by: &[unit(
            "heliograph-matcher",
            &["what_expired_meanwhile_is_no_part_of_what_a_subscription_missed"],
        )],
    },
    Mutation {
        name: "expiry-ignored-in-memory",
        breaks: "an event is in no answer from the second it expires",
        edits: &[edit(
            "crates/recent/src/cursor.rs",
            " || self.index.is_expired(slot, self.ask.now)",
            "",
        )],
        caught_by: &[tests(
            "heliograph-recent",
            Test("conformance"),
            &["an_event_is_hidden_from_the_second_it_expires"],
        )],
    },
    Mutation {
        name: "tie-broken-the-wrong-way-in-memory",
        breaks: "of two versions of one second the lowest id is delivered last",
        edits: &[edit(
            RECENT,
            "if seat.position < position {\n                return Applied::Lost;",
            "if (seat.position.0, position.1) < (position.0, seat.position.1) {\n                return Applied::Lost;",
        )],
        caught_by: &[unit(
            "heliograph-recent",
            &["random_histories_agree_with_the_archive"],
        )],
    },
];
