//! Who is there.

use std::sync::Arc;

use heliograph_bus_nats::{Lease, Member, Role};
use tokio::time::Instant;

use crate::bed::{Bed, block_on, options, other, until};

fn lease(name: &str) -> Lease {
    Lease {
        role: Role::Matcher,
        name: name.to_owned(),
        address: format!("{name}:7000"),
        ready: false,
    }
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|member| member.name.as_str()).collect()
}

#[test]
fn members_are_seen_until_they_leave() {
    block_on(async {
        let options = options();
        let watcher = Bed::open(options.clone()).await;
        let matcher = Bed::open(other(&options, "matcher.0")).await;
        let members = watcher.members(Role::Matcher);
        let gateways = watcher.members(Role::Gateway);
        watcher.members_known().await;
        assert_eq!(members.borrow().len(), 0);
        let membership = matcher.join(lease("matcher.0")).await.unwrap();
        until("seen", || names(&members.borrow()) == ["matcher.0"]).await;
        let member = members.borrow()[0].clone();
        assert_eq!(
            (member.address.as_str(), member.ready),
            ("matcher.0:7000", false)
        );
        assert_eq!(member.incarnation, matcher.incarnation());
        membership.set_ready(true);
        let told = Instant::now();
        until("ready", || members.borrow()[0].ready).await;
        assert!(
            told.elapsed() < options.lease_ttl / 3,
            "at once, not with the next renewal"
        );
        // It stays over several leases.
        tokio::time::sleep(options.lease_ttl * 3).await;
        assert_eq!(names(&members.borrow()), ["matcher.0"]);
        let leaving = Instant::now();
        membership.leave().await;
        until("gone", || members.borrow().is_empty()).await;
        assert!(leaving.elapsed() < options.lease_ttl / 2, "at once");
        assert_eq!(gateways.borrow().len(), 0);
        watcher.close(options.lease_ttl).await;
    });
}

#[test]
fn a_member_that_dies_is_gone_after_its_lease_and_others_stay() {
    block_on(async {
        let options = options();
        let watcher = Bed::open(options.clone()).await;
        let dying = Bed::open(other(&options, "a")).await;
        let living = Bed::open(other(&options, "b")).await;
        let members = watcher.members(Role::Matcher);
        let _a = dying.join(lease("a")).await.unwrap();
        let _b = living.join(lease("b")).await.unwrap();
        until("both", || names(&members.borrow()) == ["a", "b"]).await;
        dying.client().drain().await.unwrap();
        let died = Instant::now();
        until("gone", || names(&members.borrow()) == ["b"]).await;
        let (took, ttl) = (died.elapsed(), options.lease_ttl);
        // A lease and a moment, on a machine that isn't overloaded.
        assert!(
            took >= ttl / 3 && took < ttl * 4,
            "{took:?} with leases of {ttl:?}"
        );
        tokio::time::sleep(ttl).await;
        assert_eq!(names(&members.borrow()), ["b"]);
        watcher.close(ttl).await;
    });
}

#[test]
fn who_comes_later_sees_who_is_there() {
    block_on(async {
        let options = options();
        let first = Bed::open(options.clone()).await;
        let _membership = first.join(lease("a")).await.unwrap();
        let watcher = Bed::open(other(&options, "gateway-1")).await;
        let members = watcher.members(Role::Matcher);
        watcher.members_known().await;
        assert_eq!(names(&members.borrow()), ["a"]);
        watcher.close(options.lease_ttl).await;
    });
}

#[test]
fn a_process_that_was_replaced_does_not_take_its_heir_with_it() {
    block_on(async {
        let options = options();
        let old = Bed::open(options.clone()).await;
        let new = Bed::open(options.clone()).await;
        let watcher = Bed::open(other(&options, "gateway-1")).await;
        let members = watcher.members(Role::Matcher);
        let old_membership = Arc::new(old.join(lease("a")).await.unwrap());
        until("the old one", || {
            members
                .borrow()
                .iter()
                .any(|member| member.incarnation == old.incarnation())
        })
        .await;
        let _new_membership = new.join(lease("a")).await.unwrap();
        Arc::into_inner(old_membership).unwrap().leave().await;
        until("the new one", || {
            members
                .borrow()
                .iter()
                .any(|member| member.incarnation == new.incarnation())
        })
        .await;
        assert_eq!(members.borrow().len(), 1);
        watcher.close(options.lease_ttl).await;
    });
}
