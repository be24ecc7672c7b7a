//! The streams and the bucket, made or brought up to date by whoever starts.
//!
//! | stream | keeps | when full |
//! | --- | --- | --- |
//! | events | until acknowledged (work queue) | refuses |
//! | committed | by age and bytes | the oldest go |
//! | dead | by age | refuses |
//! | leases (bucket) | the last of each member, for one lease | – |

use std::{future::Future, time::Duration};

use async_nats::jetstream::{
    Context, kv,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use tokio::time::{Instant, sleep};

use crate::{NatsError, NatsOptions, names::Names};

/// Pause between attempts: a cluster that starts has no leader for a while.
const PAUSE: Duration = Duration::from_millis(250);

/// A lease is smaller; bounds what a stranger could put there.
const LEASE_BYTES_MAX: i32 = 4_096;

/// Makes what isn't there and changes what differs.
///
/// # Errors
///
/// [`NatsError::Request`] if something isn't there and can't be made until `deadline`. What is
/// there but can't be changed is a warning.
pub(crate) async fn ensure(
    context: &Context,
    names: &Names,
    options: &NatsOptions,
    deadline: Instant,
) -> Result<(), NatsError> {
    for config in [
        events(names, options),
        committed(names, options),
        dead(names, options),
    ] {
        let what = format!("make stream {}", config.name);
        retry(&what, deadline, || ensure_stream(context, &config)).await?;
    }
    let what = format!("make bucket {}", names.leases_bucket());
    retry(&what, deadline, || {
        ensure_bucket(context, leases(names, options))
    })
    .await
}

fn events(names: &Names, options: &NatsOptions) -> Config {
    Config {
        name: names.events_stream(),
        description: Some("Verified events on their way to ingest".to_owned()),
        subjects: vec![names.events_subjects()],
        retention: RetentionPolicy::WorkQueue,
        // An event that was acknowledged must not make room for another.
        discard: DiscardPolicy::New,
        max_bytes: bytes(options.events_bytes_max),
        max_age: options.events_age_max,
        ..common(options)
    }
}

fn committed(names: &Names, options: &NatsOptions) -> Config {
    Config {
        name: names.committed_stream(),
        description: Some("What the store took, numbered".to_owned()),
        subjects: vec![names.committed_subject()],
        discard: DiscardPolicy::Old,
        max_bytes: bytes(options.committed_bytes_max),
        max_age: options.committed_age_max,
        storage: options.committed_storage.into(),
        allow_direct: true,
        ..common(options)
    }
}

fn dead(names: &Names, options: &NatsOptions) -> Config {
    Config {
        name: names.dead_stream(),
        description: Some("Events that could not be stored".to_owned()),
        subjects: vec![names.dead_subject()],
        discard: DiscardPolicy::New,
        max_bytes: bytes(options.dead_letters_bytes_max),
        max_age: options.dead_letters_age_max,
        storage: StorageType::File,
        allow_direct: true,
        ..common(options)
    }
}

fn common(options: &NatsOptions) -> Config {
    Config {
        retention: RetentionPolicy::Limits,
        storage: options.storage.into(),
        num_replicas: options.replicas,
        // The server refuses a window that is longer than the age.
        duplicate_window: options
            .duplicate_window
            .min(options.committed_age_max)
            .min(options.events_age_max),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

fn leases(names: &Names, options: &NatsOptions) -> kv::Config {
    kv::Config {
        bucket: names.leases_bucket(),
        description: "Members of the cluster, for as long as they renew".to_owned(),
        history: 1,
        max_age: options.lease_ttl,
        max_value_size: LEASE_BYTES_MAX,
        // Leases are renewed all the time: nothing of them is worth a disk.
        storage: StorageType::Memory,
        num_replicas: options.replicas,
        ..kv::Config::default()
    }
}

fn bytes(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

async fn ensure_stream(context: &Context, wanted: &Config) -> Result<(), String> {
    let stream = context
        .get_or_create_stream(wanted.clone())
        .await
        .map_err(|error| error.to_string())?;
    let found = &stream.cached_info().config;
    if !differs(found, wanted) {
        return Ok(());
    }
    // What others added to it stays.
    let changed = Config {
        subjects: wanted.subjects.clone(),
        discard: wanted.discard,
        max_bytes: wanted.max_bytes,
        max_age: wanted.max_age,
        num_replicas: wanted.num_replicas,
        duplicate_window: wanted.duplicate_window,
        allow_direct: wanted.allow_direct,
        ..found.clone()
    };
    match context.update_stream(&changed).await {
        Ok(_info) => tracing::info!(stream = wanted.name, "changed stream to fit the options"),
        Err(error) => tracing::warn!(
            %error,
            stream = wanted.name,
            "stream differs from the options and can't be changed"
        ),
    }
    warn_of_fixed(found, wanted);
    Ok(())
}

/// Says what NATS never changes.
fn warn_of_fixed(found: &Config, wanted: &Config) {
    if found.retention != wanted.retention || found.storage != wanted.storage {
        tracing::warn!(
            stream = wanted.name,
            found = ?(found.retention, found.storage),
            wanted = ?(wanted.retention, wanted.storage),
            "stream was made with another retention or storage and keeps it"
        );
    }
}

fn differs(found: &Config, wanted: &Config) -> bool {
    found.subjects != wanted.subjects
        || found.discard != wanted.discard
        || found.max_bytes != wanted.max_bytes
        || found.max_age != wanted.max_age
        || found.num_replicas != wanted.num_replicas
        || found.duplicate_window != wanted.duplicate_window
        || found.allow_direct != wanted.allow_direct
        || found.retention != wanted.retention
        || found.storage != wanted.storage
}

async fn ensure_bucket(context: &Context, wanted: kv::Config) -> Result<(), String> {
    let (ttl, replicas) = (wanted.max_age, wanted.num_replicas);
    let found = match context.get_key_value(&wanted.bucket).await {
        Ok(found) => found,
        Err(_not_there) => context
            .create_key_value(wanted.clone())
            .await
            .map_err(|error| error.to_string())?,
    };
    let config = &found.stream.cached_info().config;
    if config.max_age == ttl && config.num_replicas == replicas {
        return Ok(());
    }
    let bucket = wanted.bucket.clone();
    if let Err(error) = context.update_key_value(wanted).await {
        tracing::warn!(%error, bucket, "bucket differs from the options and can't be changed");
    }
    Ok(())
}

/// Tries until it works or the deadline has passed.
pub(crate) async fn retry<T, F>(
    what: &str,
    deadline: Instant,
    mut attempt: impl FnMut() -> F,
) -> Result<T, NatsError>
where
    F: Future<Output = Result<T, String>>,
{
    loop {
        let reason = match attempt().await {
            Ok(done) => return Ok(done),
            Err(reason) => reason,
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(NatsError::Request {
                what: what.to_owned(),
                reason,
            });
        }
        tracing::info!(what, reason, "NATS can't yet");
        sleep(PAUSE).await;
    }
}
