//! Random filters over a cluster against the memory store (`crate::oracle`), each connection on the
//! next gateway.

use super::bed::Bed;
use crate::oracle::{SETTINGS, check_concurrent, check_live, check_stored};

#[test]
fn stored_answers_of_a_cluster_are_the_oracle_s() {
    if let Some(bed) = Bed::fresh(&SETTINGS) {
        check_stored(&|| bed.client());
    }
}

#[test]
fn live_answers_of_a_cluster_are_the_oracle_s() {
    if let Some(bed) = Bed::fresh(&SETTINGS) {
        check_live(&|| bed.client());
    }
}

#[test]
fn answers_of_a_cluster_under_concurrent_writes_end_up_as_the_oracle_s() {
    if let Some(bed) = Bed::fresh(&SETTINGS) {
        check_concurrent(&|| bed.client());
    }
}
