//! Mutations of what only a cluster has: JetStream, the CQL store, the link to the matchers.

use super::{
    Edit, Mutation,
    Needs::{self, Cql, Nats, Nothing},
    Program::{self, Lib, Test},
    Tests,
};

const CQL_WRITE: &str = "crates/store-scylla/src/write.rs";
const CQL_KEY: &str = "crates/store-scylla/src/key.rs";
const NATS_SETTLE: &str = "crates/bus-nats/src/intake/settle.rs";

const fn tests(
    package: &'static str,
    program: Program,
    needs: Needs,
    names: &'static [&'static str],
) -> Tests {
    Tests {
        package,
        program,
        names,
        needs,
    }
}

/// Of the CQL store, against a server.
const fn cql(names: &'static [&'static str]) -> Tests {
    tests("heliograph-store-scylla", Lib, Cql, names)
}

/// Of the bus, against a server.
const fn nats(names: &'static [&'static str]) -> Tests {
    tests("heliograph-bus-nats", Test("servers"), Nats, names)
}

const fn edit(file: &'static str, old: &'static str, new: &'static str) -> Edit {
    Edit { file, old, new }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "resumed-one-too-late-by-the-link",
        breaks: "a subscription that goes on at another matcher has no gap",
        edits: &[edit(
            "crates/link/src/client/session.rs",
            "from: from.0,",
            "from: from.0 + 1,",
        )],
        caught_by: &[tests(
            "heliograph-link",
            Test("link"),
            Nothing,
            &["a_gateway_goes_on_from_the_number_up_to_which_it_has_everything"],
        )],
    },
    Mutation {
        name: "acknowledged-when-it-is-fetched",
        breaks: "a batch whose worker dies comes to another",
        edits: &[edit(
            "crates/bus-nats/src/intake/work.rs",
            "let batch = codec::read_batch(origin.payload.clone());",
            "let batch = codec::read_batch(origin.payload.clone());\n\
             let (client, reply) = (self.core.client.clone(), origin.reply.clone());\n\
             self.core.tasks.spawn(\"too early\", async move {\n\
             drop(client.publish(reply, \"+ACK\".into()).await);\n\
             });",
        )],
        caught_by: &[nats(&["a_message_whose_worker_died_comes_to_another"])],
    },
    Mutation {
        name: "acknowledged-before-the-receipts",
        breaks: "receipts go out before their batch is acknowledged",
        edits: &[edit(
            NATS_SETTLE,
            "send_receipts(workshop, &work, &verdict.stored).await;",
            "if matches!(verdict.end, End::Done) {\n\
             acknowledge(workshop, &work, AckKind::Ack).await;\n\
             }\n\
             send_receipts(workshop, &work, &verdict.stored).await;",
        )],
        caught_by: &[nats(&["receipts_go_out_before_the_acknowledgement"])],
    },
    Mutation {
        name: "acknowledged-although-it-failed",
        breaks: "what can't be stored comes again",
        edits: &[edit(
            NATS_SETTLE,
            "let end = if failed.is_empty() {",
            "let end = if failed.is_empty() || true {",
        )],
        caught_by: &[nats(&[
            "an_event_answered_with_an_error_is_an_error_or_comes_again",
        ])],
    },
    Mutation {
        name: "duplicate-filter-off-in-the-stream",
        breaks: "a batch that is sent again is in the stream once",
        edits: &[edit(
            "crates/bus-nats/src/acked.rs",
            "headers.insert(NATS_MESSAGE_ID, outgoing.id.as_str());",
            "headers.insert(\"Not-An-Id\", outgoing.id.as_str());\nlet _ = NATS_MESSAGE_ID;",
        )],
        caught_by: &[nats(&["a_batch_that_is_sent_again_is_kept_once"])],
    },
    Mutation {
        name: "quorum-answered-without-the-stream",
        breaks: "with durability quorum OK true comes after the stream's acknowledgement",
        edits: &[edit(
            "crates/bus-nats/src/publisher.rs",
            "Err(error) => self.failed(&batch, &error),",
            "Err(error) => {\nlet _: fn(&Self, &[Queued], &Unacknowledged) = Self::failed;\n\
             drop(error);\nself.acknowledged(&batch);\n}",
        )],
        caught_by: &[nats(&["a_full_stream_refuses_and_keeps_what_it_has"])],
    },
    Mutation {
        name: "gap-in-the-feed-passed-over",
        breaks: "a matcher that missed commits says so",
        edits: &[edit(
            "crates/bus-nats/src/follow.rs",
            "if number > expected {",
            "if number > expected && false {",
        )],
        caught_by: &[nats(&["a_feed_that_missed_commits_ends_and_says_so"])],
    },
    Mutation {
        name: "guard-read-before-the-event-is-written",
        breaks: "of an event and its deletion that race, the deletion wins",
        edits: &[
            edit(
                CQL_WRITE,
                "        let lost = self.lost(&puts).await?;\n",
                "",
            ),
            edit(
                CQL_WRITE,
                "all(puts.iter().map(|put| self.put_event(put, now))).await?;",
                "let lost = self.lost(&puts).await?;\n\
                 all(puts.iter().map(|put| self.put_event(put, now))).await?;",
            ),
        ],
        caught_by: &[cql(&["an_event_that_is_overtaken_by_what_removes_it_goes"])],
    },
    Mutation {
        name: "targets-read-before-the-guard-is-written",
        breaks: "of an event and its deletion that race, the deletion wins",
        edits: &[
            edit(
                CQL_WRITE,
                "tokio::try_join!(self.put_index(rows.collect()), self.put_guards(merged),)?;",
                "self.put_index(rows.collect()).await?;",
            ),
            edit(
                CQL_WRITE,
                "        Ok(merged.outcomes)\n",
                "        self.put_guards(&merged).await?;\n        Ok(merged.outcomes)\n",
            ),
        ],
        caught_by: &[cql(&["what_overtakes_its_own_removal_goes"])],
    },
    Mutation {
        name: "tie-broken-the-wrong-way-by-the-database",
        breaks: "of two versions of one second the lowest id wins, whoever writes last",
        edits: &[
            edit(
                CQL_KEY,
                "for (target, byte) in bytes[8..40].iter_mut().zip(self.id.as_bytes()) {\n            *target = !byte;",
                "for (target, byte) in bytes[8..40].iter_mut().zip(self.id.as_bytes()) {\n            *target = *byte;",
            ),
            edit(
                CQL_KEY,
                "for (target, byte) in id.iter_mut().zip(&bytes[8..40]) {\n            *target = !byte;",
                "for (target, byte) in id.iter_mut().zip(&bytes[8..40]) {\n            *target = *byte;",
            ),
        ],
        caught_by: &[cql(&["versions_of_one_second_end_with_the_lowest_id"])],
    },
    Mutation {
        name: "removal-beaten-by-a-late-write",
        breaks: "a worker that was held up brings nothing back",
        edits: &[edit(CQL_KEY, "    stamp(at) + 1\n", "    stamp(at) - 1\n")],
        caught_by: &[tests(
            "heliograph-store-scylla",
            Lib,
            Nothing,
            &["stamps_follow_created_at_and_never_lie_in_the_future"],
        )],
    },
];
