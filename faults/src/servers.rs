//! What happens to the servers below a bed, if they are its own.

use heliograph_sandbox::{cql::Cassandra, nats::Nats};

use crate::bed::Bed;

impl Bed {
    /// The NATS servers of this cluster.
    ///
    /// # Panics
    ///
    /// If it uses servers that others use too, as in every method that does something to a server.
    #[must_use]
    #[track_caller]
    pub fn own_nats(&self) -> &Nats {
        self.nats().expect("a bed with NATS servers of its own")
    }

    /// The database's nodes of this cluster.
    ///
    /// # Panics
    ///
    /// If it uses nodes that others use too, as in every method that does something to a node.
    #[must_use]
    #[track_caller]
    pub fn own_cql(&self) -> &Cassandra {
        self.cassandra().expect("a bed with a database of its own")
    }

    /// SIGKILL to a NATS server.
    #[track_caller]
    pub fn kill_nats(&self, node: usize) {
        self.begin(&format!("nats {node} is away"));
        self.mark(&format!("kill nats {node}"));
        self.own_nats().kill(node);
    }

    /// Starts a NATS server again and waits until it is healthy.
    #[track_caller]
    pub fn restart_nats(&self, node: usize) {
        self.mark(&format!("start nats {node}"));
        let started = self.own_nats().restart(node);
        started.unwrap_or_else(|error| panic!("{error}"));
        self.end(&format!("nats {node} is away"));
    }

    /// SIGSTOP to a NATS server.
    #[track_caller]
    pub fn pause_nats(&self, node: usize) {
        self.begin(&format!("nats {node} is paused"));
        self.own_nats().pause(node);
    }

    /// SIGCONT to a NATS server.
    #[track_caller]
    pub fn resume_nats(&self, node: usize) {
        self.own_nats().resume(node);
        self.end(&format!("nats {node} is paused"));
    }

    /// Kills every NATS server.
    #[track_caller]
    pub fn kill_all_nats(&self) {
        (0..self.nats_urls().len()).for_each(|node| self.kill_nats(node));
    }

    /// Starts every NATS server and waits until all are healthy, which none is alone.
    #[track_caller]
    pub fn restart_all_nats(&self) {
        let (nats, nodes) = (self.own_nats(), 0..self.nats_urls().len());
        for node in nodes.clone() {
            self.mark(&format!("start nats {node}"));
            let started = nats.restart_without_wait(node);
            started.unwrap_or_else(|error| panic!("{error}"));
        }
        for node in nodes {
            nats.wait(node).unwrap_or_else(|error| panic!("{error}"));
            self.end(&format!("nats {node} is away"));
        }
    }

    /// SIGKILL to a node of the database.
    #[track_caller]
    pub fn kill_cql(&self, node: usize) {
        self.begin(&format!("cql {node} is away"));
        self.mark(&format!("kill cql {node}"));
        self.own_cql().kill(node);
    }

    /// Starts a node of the database again and waits until it answers.
    #[track_caller]
    pub fn restart_cql(&self, node: usize) {
        self.mark(&format!("start cql {node}"));
        let started = self.own_cql().restart(node);
        started.unwrap_or_else(|error| panic!("{error}"));
        self.end(&format!("cql {node} is away"));
    }

    /// SIGSTOP to a node of the database.
    #[track_caller]
    pub fn pause_cql(&self, node: usize) {
        self.begin(&format!("cql {node} is paused"));
        self.own_cql().pause(node);
    }

    /// SIGCONT to a node of the database.
    #[track_caller]
    pub fn resume_cql(&self, node: usize) {
        self.own_cql().resume(node);
        self.end(&format!("cql {node} is paused"));
    }
}
