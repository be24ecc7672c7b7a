//! What happens when: drawn from a seed, printed, and replayed from it.
//!
//! `HELIOGRAPH_FAULT_SEED` replays one schedule; `HELIOGRAPH_FAULT_ROUNDS` runs that many, those
//! behind the fixed ones with fresh seeds.

use std::{fmt, time::Duration};

use heliograph_protocol::Timestamp;
use heliograph_sandbox::cluster::{Peer, Role};
use heliograph_testkit::{
    history::{Expect, Summary},
    process::option,
    random::Random,
};

use crate::{
    bed::{Bed, Harm, PATIENCE, Way, hold, say},
    workload::Workload,
};

/// Events that each gateway has to take between two faults, so that each begins in health.
const PROGRESS: usize = 20;

/// How much later things come on a slow way.
const DELAY: Duration = Duration::from_millis(200);

/// Subscriptions of one gateway's clients, about.
const SUBSCRIPTIONS: usize = 50;

/// Subscriptions that are open in the end, and live events that came on them, at least.
const KEPT_MIN: usize = 60;
const LIVE_MIN: usize = 1_000;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new start at the end.
    Kill(Role, usize),
    /// SIGTERM, and a new start at the end.
    Stop(Role, usize),
    /// SIGSTOP, and SIGCONT at the end.
    Pause(Role, usize),
    /// As [`Self::Kill`], of a NATS server.
    KillNats(usize),
    /// As [`Self::Pause`], of a NATS server.
    PauseNats(usize),
    /// Cut off from all but its clients.
    Isolate(Role, usize),
    /// One way is cut, silent or slow.
    Harm(Way, Harm),
}

/// One fault, for how long, and how long nothing happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub fault: Fault,
    /// For how long.
    pub lasting: Duration,
    /// How long all is well afterwards, at least.
    pub rest: Duration,
}

/// What there is to harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Members of this role.
    pub gateways: usize,
    /// Members of this role.
    pub ingest: usize,
    /// Members of this role.
    pub matchers: usize,
    /// NATS servers that may die one at a time; 0 if others use them or there is only one.
    pub nats: usize,
    /// Whether ways can be harmed.
    pub links: bool,
}

impl Layout {
    /// That of a bed.
    #[must_use]
    pub fn of(bed: &Bed) -> Self {
        let servers = bed.nats().map_or(0, |nats| nats.urls().len());
        Self {
            gateways: bed.members(Role::Gateway).len(),
            ingest: bed.members(Role::Ingest).len(),
            matchers: bed.members(Role::Matcher).len(),
            nats: if servers < 3 { 0 } else { servers },
            links: bed.is_linked(),
        }
    }

    fn members(&self, role: Role) -> usize {
        match role {
            Role::Gateway => self.gateways,
            Role::Ingest => self.ingest,
            Role::Matcher => self.matchers,
        }
    }
}

/// Faults one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    seed: u64,
    steps: Vec<Step>,
}

impl Schedule {
    /// As many faults as `steps`, the same ones for the same seed and layout.
    #[must_use]
    pub fn from_seed(seed: u64, layout: &Layout, steps: usize) -> Self {
        let mut random = Random::seeded(seed);
        let step = |_| Step::draw(&mut random, layout);
        Self {
            seed,
            steps: (0..steps).map(step).collect(),
        }
    }

    /// These faults, each for so long, with clients that draw from `seed`.
    pub fn of(seed: u64, faults: impl IntoIterator<Item = (Fault, Duration)>) -> Self {
        let step = |(fault, lasting)| Step {
            fault,
            lasting,
            rest: Duration::ZERO,
        };
        Self {
            seed,
            steps: faults.into_iter().map(step).collect(),
        }
    }

    /// What it was drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its faults.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Lets it all happen under load, in a history of its own, and checks what clients saw.
    ///
    /// # Panics
    ///
    /// If a promise was broken, something doesn't recover, or a member ended by itself.
    #[track_caller]
    pub fn check(&self, bed: &mut Bed) -> Summary {
        bed.renew_history();
        let load = Workload::start(self.seed, bed.gateways(), bed.history().clone());
        healthy(bed, &load);
        self.run(bed, &load);
        bed.check_running();
        let summary = load.finish(&Expect::default());
        say(&format!("seed {:#x}: {summary}", self.seed));
        self.check_worth(&summary);
        summary
    }

    /// Whoever closes everything breaks no promise, and is of no use.
    #[track_caller]
    fn check_worth(&self, summary: &Summary) {
        let stopped = |step: &&Step| matches!(step.fault, Fault::Stop(Role::Gateway, _));
        let gateways_stopped = self.steps.iter().filter(stopped).count();
        assert!(
            summary.live >= LIVE_MIN && summary.kept >= KEPT_MIN,
            "too little came, or stayed: {summary}"
        );
        assert!(
            summary.closed <= (gateways_stopped + 1) * SUBSCRIPTIONS,
            "too many subscriptions ended: {summary}"
        );
    }

    /// Lets it all happen, one after another: each fault ends, and every gateway takes events
    /// again before the next one.
    ///
    /// # Panics
    ///
    /// If something doesn't recover.
    #[track_caller]
    pub fn run(&self, bed: &Bed, load: &Workload) {
        say(&self.to_string());
        for step in &self.steps {
            let from = bed.history().len();
            step.fault.begin(bed);
            hold(step.lasting);
            step.fault.end(bed);
            healthy(bed, load);
            hold(step.rest);
            say(&format!("{step}: {}", bed.effects(from)));
        }
    }
}

impl Step {
    fn draw(random: &mut Random, layout: &Layout) -> Self {
        let fault = Fault::draw(random, layout);
        let (least, most) = fault.lasting();
        Self {
            fault,
            lasting: between(random, least, most),
            rest: between(random, 200, 3_000),
        }
    }
}

impl Fault {
    fn draw(random: &mut Random, layout: &Layout) -> Self {
        // Not every kind is possible everywhere: draw again.
        loop {
            let role = Role::ALL[random.below(Role::ALL.len())];
            let number = random.below(layout.members(role).max(1));
            let nats = random.below(layout.nats.max(1));
            let (has_nats, has_links) = (layout.nats > 0, layout.links);
            let fault = match random.below(9) {
                0 | 1 => Self::Kill(role, number),
                2 => Self::Stop(role, number),
                3 | 4 => Self::Pause(role, number),
                5 if has_nats => Self::KillNats(nats),
                6 if has_nats => Self::PauseNats(nats),
                7 if has_links => Self::Isolate(role, number),
                8 if has_links => {
                    let way = draw_way(random, layout, (role, number));
                    let harms = [Harm::Cut, Harm::Silence, Harm::Delay(DELAY)];
                    Self::Harm(way, harms[random.below(harms.len())])
                }
                _ => continue,
            };
            return fault;
        }
    }

    /// For how long it may last, in milliseconds: those who are dead are started again soon, those
    /// who hang are noticed late.
    fn lasting(self) -> (usize, usize) {
        match self {
            Self::Kill(..) | Self::Stop(..) | Self::KillNats(_) => (0, 4_000),
            Self::Pause(..) | Self::PauseNats(_) => (1_000, 10_000),
            Self::Isolate(..) | Self::Harm(..) => (1_000, 8_000),
        }
    }

    /// Lets it happen.
    #[track_caller]
    pub fn begin(self, bed: &Bed) {
        match self {
            Self::Kill(role, number) => bed.kill(role, number),
            Self::Stop(role, number) => {
                let status = bed.terminate(role, number);
                assert_eq!(status.code(), Some(0), "{}", bed.output(role, number));
            }
            Self::Pause(role, number) => bed.pause(role, number),
            Self::KillNats(node) => bed.kill_nats(node),
            Self::PauseNats(node) => bed.pause_nats(node),
            Self::Isolate(role, number) => bed.isolate(role, number),
            Self::Harm(way, harm) => bed.harm(way, harm),
        }
    }

    /// Does what a supervisor or a network would.
    #[track_caller]
    pub fn end(self, bed: &Bed) {
        match self {
            Self::Kill(role, number) | Self::Stop(role, number) => bed.restart(role, number),
            Self::Pause(role, number) => bed.resume(role, number),
            Self::KillNats(node) => bed.restart_nats(node),
            Self::PauseNats(node) => bed.resume_nats(node),
            Self::Isolate(role, number) => bed.rejoin(role, number),
            Self::Harm(way, harm) => bed.heal(way, harm),
        }
    }
}

/// Waits until every gateway takes events.
#[track_caller]
fn healthy(bed: &Bed, load: &Workload) {
    for gateway in 0..bed.members(Role::Gateway).len() {
        load.progress_at(gateway, PROGRESS, PATIENCE);
    }
}

fn draw_way(random: &mut Random, layout: &Layout, (role, number): (Role, usize)) -> Way {
    let other = match role {
        Role::Gateway => Peer::Matcher(random.below(layout.matchers.max(1))),
        Role::Ingest | Role::Matcher => Peer::Cql,
    };
    let peer = [Peer::Nats, other][random.below(2)];
    Way { role, number, peer }
}

fn between(random: &mut Random, least: usize, most: usize) -> Duration {
    let millis = least + random.below(most - least + 1);
    Duration::from_millis(millis as u64)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {:#x}", self.seed)?;
        let mut between = ": ";
        for step in &self.steps {
            write!(f, "{between}{step}")?;
            between = "; ";
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1} s", self.fault, self.lasting.as_secs_f64())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role, number) => write!(f, "kill {} {number}", role.subcommand()),
            Self::Stop(role, number) => write!(f, "stop {} {number}", role.subcommand()),
            Self::Pause(role, number) => write!(f, "pause {} {number}", role.subcommand()),
            Self::KillNats(node) => write!(f, "kill nats {node}"),
            Self::PauseNats(node) => write!(f, "pause nats {node}"),
            Self::Isolate(role, number) => write!(f, "isolate {} {number}", role.subcommand()),
            Self::Harm(way, harm) => write!(f, "{way} {harm}"),
        }
    }
}

/// The seeds of this run: that of `HELIOGRAPH_FAULT_SEED`, or as many as `HELIOGRAPH_FAULT_ROUNDS`
/// says (one for each of `fixed` by default), first the fixed ones, then fresh ones.
///
/// # Panics
///
/// If a variable isn't a number.
#[must_use]
pub fn seeds(fixed: &[u64]) -> Vec<u64> {
    if let Some(seed) = number("HELIOGRAPH_FAULT_SEED") {
        return vec![seed];
    }
    let rounds = number("HELIOGRAPH_FAULT_ROUNDS").map_or(fixed.len(), |rounds| {
        usize::try_from(rounds).unwrap_or(usize::MAX)
    });
    let mut random = Random::seeded(Timestamp::now().as_secs());
    let fresh = (fixed.len()..rounds).map(|_| random.below(usize::MAX) as u64);
    fixed.iter().copied().take(rounds).chain(fresh).collect()
}

/// A variable that holds a number, decimal or 0x….
fn number(name: &str) -> Option<u64> {
    let value = option(name)?;
    let parsed = value.to_str().and_then(parse);
    Some(parsed.unwrap_or_else(|| panic!("{name} is a number, not {}", value.display())))
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Layout = Layout {
        gateways: 2,
        ingest: 2,
        matchers: 2,
        nats: 3,
        links: true,
    };

    #[test]
    fn a_seed_says_it_all() {
        let schedule = Schedule::from_seed(7, &ALL, 20);
        assert_eq!(schedule, Schedule::from_seed(7, &ALL, 20));
        assert_ne!(schedule.steps(), Schedule::from_seed(8, &ALL, 20).steps());
        assert!(schedule.to_string().starts_with("seed 0x7: "), "{schedule}");
        assert_eq!(schedule.to_string().matches("; ").count(), 19);
    }

    #[test]
    fn every_kind_of_fault_is_drawn_and_only_what_there_is() {
        let kinds = |layout: &Layout| {
            let schedule = Schedule::from_seed(1, layout, 500);
            let kind = |step: &Step| std::mem::discriminant(&step.fault);
            let mut found: Vec<_> = schedule.steps().iter().map(kind).collect();
            found.dedup();
            let mut distinct = Vec::new();
            for kind in found {
                if !distinct.contains(&kind) {
                    distinct.push(kind);
                }
            }
            distinct.len()
        };
        assert_eq!(kinds(&ALL), 7);
        let without = Layout {
            nats: 0,
            links: false,
            ..ALL
        };
        assert_eq!(kinds(&without), 3);
    }

    #[test]
    fn numbers_are_read_in_both_forms() {
        assert_eq!(parse("0xff"), Some(255));
        assert_eq!(parse("255"), Some(255));
        assert_eq!(parse("ff"), None);
    }
}
