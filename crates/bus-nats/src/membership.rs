//! Who is there: leases in a bucket, renewed by those who live.
//!
//! A member is seen as long as its lease is renewed, by the clock of whoever looks: nothing depends
//! on clocks that agree, or on the server telling of an expiry. While the server can't be reached
//! nobody is removed, since it is as likely to be us.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::kv;
use bytes::Bytes;
use heliograph_proto::v1;
use heliograph_protocol::Timestamp;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

use crate::{
    NatsError,
    core::Core,
    follow::{Followed, Follower, From, Step},
    latch::Latch,
    names::token,
    streams::retry,
};

/// Pause before a renewal that failed is tried again: soon, as everyone waits for it.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What a process does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Holds sockets.
    Gateway,
    /// Stores events.
    Ingest,
    /// Answers and delivers.
    Matcher,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::Ingest, Self::Matcher];

    /// Its name on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Ingest => "ingest",
            Self::Matcher => "matcher",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// What a process says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it does.
    pub role: Role,
    /// Its name, unique among those of its role.
    pub name: String,
    /// Where its peers reach it, `host:port`; empty if they needn't.
    pub address: String,
    /// Whether it takes work.
    pub ready: bool,
}

/// A live process of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it does.
    pub role: Role,
    /// Its name, unique among those of its role.
    pub name: String,
    /// Where its peers reach it, `host:port`; empty if they needn't.
    pub address: String,
    /// Whether it takes work.
    pub ready: bool,
    /// Another one after every start.
    pub incarnation: String,
    /// When it started.
    pub started: Timestamp,
    /// The version of its program.
    pub version: String,
}

/// The live members of one role, in order of their names.
pub type Members = watch::Receiver<Arc<[Member]>>;

/// Keeps a lease alive. Dropped, the process leaves, as soon as the server can be told.
#[derive(Debug)]
pub struct Membership {
    ready: watch::Sender<bool>,
    /// Dropped, the task ends.
    leave: oneshot::Sender<()>,
    left: oneshot::Receiver<()>,
}

impl Membership {
    pub(crate) async fn join(core: &Arc<Core>, lease: Lease) -> Result<Self, NatsError> {
        let deadline = Instant::now() + core.options.connect_deadline;
        let bucket = retry("find the bucket of leases", deadline, async || {
            let bucket = core.context.get_key_value(core.names.leases_bucket());
            bucket.await.map_err(|error| error.to_string())
        });
        let bucket = bucket.await?;
        let (ready_in, ready) = watch::channel(lease.ready);
        let (leave_in, leave) = oneshot::channel();
        let (left_in, left) = oneshot::channel::<()>();
        let mut keeper = Keeper {
            core: Arc::clone(core),
            bucket,
            key: format!("{}.{}", lease.role.as_str(), token(&lease.name)),
            lease,
            started: Timestamp::now(),
            revision: None,
        };
        // A bucket that was just made, or lost a server, has no leader for a while.
        while let Err(reason) = keeper.renew().await {
            if Instant::now() + RETRY_PAUSE >= deadline {
                return Err(NatsError::request("take a lease")(reason));
            }
            tracing::info!(what = "take a lease", reason, "NATS can't yet");
            sleep(RETRY_PAUSE).await;
        }
        core.tasks.spawn("bus lease", async move {
            keeper.run(ready, leave).await;
            // Seen by whoever waits, if anybody does.
            drop(left_in);
        });
        Ok(Self {
            ready: ready_in,
            leave: leave_in,
            left,
        })
    }

    /// Says whether this process takes work; told at once.
    pub fn set_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }

    /// The same for whoever learns it while another holds the lease: `true` is ready.
    #[must_use]
    pub fn ready(&self) -> watch::Sender<bool> {
        self.ready.clone()
    }

    /// Gives the lease up and waits until others can see that, or the server can't be told.
    pub async fn leave(self) {
        drop(self.leave);
        // An error is the end of the task as well.
        drop(self.left.await);
    }
}

/// Renews one lease.
struct Keeper {
    core: Arc<Core>,
    bucket: kv::Store,
    key: String,
    lease: Lease,
    started: Timestamp,
    /// What was written last.
    revision: Option<u64>,
}

impl Keeper {
    async fn run(&mut self, mut ready: watch::Receiver<bool>, mut leave: oneshot::Receiver<()>) {
        let mut ticks = interval(self.core.options.lease_ttl / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut connects = self.core.link.connects();
        loop {
            // Leaving first; then what others should know soonest.
            tokio::select! {
                biased;
                _left = &mut leave => break,
                Ok(()) = ready.changed() => self.lease.ready = *ready.borrow_and_update(),
                // The lease may have expired meanwhile.
                () = self.core.link.reconnected(connects) => {
                    connects = self.core.link.connects();
                }
                _tick = ticks.tick() => {}
            }
            if let Err(error) = self.renew().await {
                self.core.metrics.lease_failures.inc();
                tracing::warn!(error, key = self.key, "failed to renew the lease");
                ticks.reset_after(RETRY_PAUSE);
            }
        }
        self.give_up().await;
    }

    async fn renew(&mut self) -> Result<(), String> {
        let lease = v1::Lease {
            name: self.lease.name.clone(),
            role: self.lease.role.as_str().to_owned(),
            address: self.lease.address.clone(),
            incarnation: self.core.incarnation.clone(),
            ready: self.lease.ready,
            started_secs: self.started.as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let put = self.bucket.put(&self.key, lease.encode_to_vec().into());
        let patience = self.core.options.lease_ttl / 3;
        let put = timeout(patience, put)
            .await
            .map_err(|_elapsed| "no answer".to_owned())?;
        self.revision = Some(put.map_err(|error| error.to_string())?);
        Ok(())
    }

    /// Removes the lease, unless another process of the same name has taken it.
    async fn give_up(&self) {
        let delete = self.bucket.delete_expect_revision(&self.key, self.revision);
        match timeout(self.core.options.lease_ttl / 3, delete).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "failed to give up the lease; it expires"),
            Err(_elapsed) => tracing::debug!("no time to give up the lease; it expires"),
        }
    }
}

/// What is known of all members; one watcher a process.
#[derive(Debug)]
pub(crate) struct Roster {
    core: Arc<Core>,
    roles: BTreeMap<Role, watch::Sender<Arc<[Member]>>>,
    /// Whether the bucket was read once to its end.
    read: Latch,
    started: Mutex<bool>,
}

impl Roster {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let sender = |role| (role, watch::Sender::new(Arc::from([])));
        Self {
            core,
            roles: Role::ALL.map(sender).into(),
            read: Latch::default(),
            started: Mutex::new(false),
        }
    }

    /// Watches a role; the first call starts the watcher.
    pub(crate) fn members(self: &Arc<Self>, role: Role) -> Members {
        let mut started = self.started.lock();
        if !*started {
            *started = true;
            let watcher = Watcher {
                roster: Arc::clone(self),
                seen: BTreeMap::new(),
            };
            self.core.tasks.spawn("bus members", watcher.run());
        }
        self.roles[&role].subscribe()
    }

    /// Waits until the members that were there are known.
    pub(crate) async fn read(&self) {
        self.read.wait().await;
    }
}

/// Follows the bucket of leases.
struct Watcher {
    roster: Arc<Roster>,
    seen: BTreeMap<String, Seen>,
}

/// A lease and when it was renewed last, by our clock.
struct Seen {
    member: Member,
    at: Instant,
}

impl Watcher {
    async fn run(mut self) {
        let roster = Arc::clone(&self.roster);
        let core = &roster.core;
        let bucket = format!("KV_{}", core.names.leases_bucket());
        let mut follower = Follower::new(Arc::clone(core), bucket, From::LastOfEach);
        loop {
            let check = self.next_check();
            // Closing first; then news, which may be the renewal of what is about to expire.
            tokio::select! {
                biased;
                () = core.closed() => return,
                step = follower.next() => self.take(step),
                () = sleep_until(check) => self.check().await,
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Started { behind, .. } => {
                self.extend_all();
                if behind == 0 {
                    self.roster.read.set();
                }
            }
            Step::Message(followed) => {
                let last = followed.behind == 0;
                self.note(followed);
                if last {
                    self.roster.read.set();
                }
            }
            Step::Gap { .. } => debug_assert!(false, "the last of each has no gaps"),
        }
    }

    fn note(&mut self, followed: Followed) {
        let member = if followed.removed {
            None
        } else {
            read(followed.payload)
        };
        let at = Instant::now();
        let before = match member.clone() {
            Some(member) => self.seen.insert(followed.subject, Seen { member, at }),
            None => self.seen.remove(&followed.subject),
        };
        let roles = [before.map(|seen| seen.member), member];
        for member in roles.into_iter().flatten() {
            self.publish(member.role);
        }
    }

    /// When somebody is suspect who doesn't renew until then.
    fn next_check(&self) -> Instant {
        let ttl = self.roster.core.options.lease_ttl;
        let now = Instant::now();
        let oldest = self.seen.values().map(|seen| seen.at).min();
        // Suspects are looked at again soon; where nobody is seen nobody can be suspect.
        oldest
            .map_or(now + ttl, |oldest| oldest + suspicion(ttl))
            .max(now + ttl / 12)
    }

    /// Removes those whose lease ran out, if it can't be the server's fault.
    ///
    /// Without a leader of the bucket nobody can renew. That is asked before, from the moment on
    /// when somebody is late, and an outage gives everyone another lease.
    async fn check(&mut self) {
        let ttl = self.roster.core.options.lease_ttl;
        let late = |seen: &Seen| seen.at.elapsed() >= suspicion(ttl);
        if !self.seen.values().any(late) {
            return;
        }
        if !self.leader_answers().await {
            self.extend_all();
            return;
        }
        let mut gone = Vec::new();
        self.seen.retain(|_, seen| {
            let lives = seen.at.elapsed() <= ttl;
            if !lives {
                gone.push(seen.member.clone());
            }
            lives
        });
        for member in gone {
            let role = member.role;
            let (name, role_name) = (member.name, role.as_str());
            tracing::warn!(
                role = role_name,
                name,
                "a member doesn't renew its lease any more"
            );
            self.publish(role);
        }
    }

    async fn leader_answers(&self) -> bool {
        let core = &self.roster.core;
        let bucket = format!("KV_{}", core.names.leases_bucket());
        let asked = timeout(core.options.lease_ttl / 3, core.stream_info(bucket)).await;
        core.link.is_up() && matches!(asked, Ok(Ok(_)))
    }

    /// Everyone gets the time to renew.
    fn extend_all(&mut self) {
        let now = Instant::now();
        self.seen.values_mut().for_each(|seen| seen.at = now);
    }

    fn publish(&self, role: Role) {
        let members = self.seen.values().map(|seen| &seen.member);
        let mut members: Vec<Member> = members
            .filter(|member| member.role == role)
            .cloned()
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let roles = self.seen.values().map(|seen| seen.member.role.as_str());
        self.roster.core.metrics.members(&roles);
        self.roster.roles[&role].send_if_modified(|current| {
            let changed = **current != *members;
            if changed {
                *current = members.into();
            }
            changed
        });
    }
}

/// A member that hasn't renewed for so long is late: it missed two renewals.
fn suspicion(ttl: Duration) -> Duration {
    ttl * 3 / 4
}

fn read(payload: Bytes) -> Option<Member> {
    let lease = v1::Lease::decode(payload).ok()?;
    Some(Member {
        role: Role::parse(&lease.role)?,
        name: lease.name,
        address: lease.address,
        ready: lease.ready,
        incarnation: lease.incarnation,
        started: Timestamp::from_secs(lease.started_secs),
        version: lease.version,
    })
}
