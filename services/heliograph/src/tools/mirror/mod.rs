//! `mirror`: what other relays have and get, published to a new one, all over their own protocol.
//!
//! ```text
//! relay ─pages backwards, then live─▶ source ─┐
//! relay ─pages backwards, then live─▶ source ─┴─▶ target ─EVENT, OK─▶ new relay
//! ```
//! A page counts once the new relay has answered all of it, so nothing is left out by a crash of
//! anybody; what was answered before may be sent again.

mod answer;
mod line;
mod place;
mod source;
mod target;

use std::{cell::RefCell, fs, io::Write, rc::Rc, sync::Arc};

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use heliograph_canary::client::{Signer, Target as Url, client_config};
use heliograph_lifecycle::Signals;

use self::{
    answer::BaseFilter,
    line::Relay,
    place::PlaceFile,
    source::{Ended, Source},
    target::Target,
};
use super::output::table;
use crate::cli::Mirror;

/// Mirrors until everything is published (`--once`), or until it is told to stop.
///
/// # Errors
///
/// The arguments are of no use, the place can't be written, or a relay has more events than it gives.
pub(super) async fn run(arguments: Mirror, out: &mut impl Write) -> anyhow::Result<()> {
    let relays = relays(&arguments)?;
    let (to, from) = relays.split_first().context("no relay")?;
    let filter = BaseFilter::new(&arguments.filter).context("--filter")?;
    let place = PlaceFile::open(&arguments.cursor, &arguments.to, &filter.text())?;
    let place = Rc::new(RefCell::new(place));
    let (target, publisher) = Target::new(to.clone());
    let sources = from.iter().map(|relay| {
        Source::new(
            relay.clone(),
            filter.clone(),
            target.clone(),
            Rc::clone(&place),
            arguments.once,
        )
    });
    let mut signals = Signals::listen().context("can't listen for signals")?;
    let all = try_join_all(sources.map(Source::run));
    let ended = tokio::select! {
        biased; // told to stop: what was answered is noted
        _signal = signals.stop(|| ()) => Ok(Vec::new()),
        ended = all => ended,
        () = publisher.run() => Ok(Vec::new()),
    };
    let counts = target.counts();
    table(
        out,
        &[
            ("stored", counts.stored),
            ("known", counts.known),
            ("refused", counts.refused),
        ],
    )?;
    let unread: u64 = ended?.iter().map(|Ended { unread }| unread).sum();
    if unread > 0 {
        bail!(
            "{unread} times a relay had more events of one second than it gives at once: some of \
             them are missing, as told above"
        );
    }
    Ok(())
}

/// The new relay, then the others.
fn relays(arguments: &Mirror) -> anyhow::Result<Vec<Relay>> {
    let mut urls = vec![Url::parse("--to", &arguments.to)?];
    for url in &arguments.from {
        urls.push(Url::parse("--from", url)?);
    }
    let encrypted = urls.iter().any(Url::is_encrypted);
    let tls = (encrypted || arguments.ca.is_some())
        .then(|| client_config(arguments.ca.as_deref()))
        .transpose()
        .context("--ca")?;
    let signer = match &arguments.key_file {
        None => None,
        Some(path) => {
            let failed = || format!("--key-file: {}", path.display());
            let text = fs::read_to_string(path).with_context(failed)?;
            Some(Signer::from_hex(text.trim()).with_context(failed)?)
        }
    };
    let relay = |target| Relay {
        target,
        tls: tls.as_ref().map(Arc::clone),
        signer: signer.clone(),
    };
    Ok(urls.into_iter().map(relay).collect())
}
