//! Boards and recording rules over the live cluster.

use std::{fs, time::Duration};

use heliograph_faults::bed::say;
use heliograph_observe::{
    board::{self, Board, View},
    live::{self, Live},
    picture::{self, Scene},
    stand::{ALONE, CLUSTER, Stand},
};
use heliograph_sandbox::wait;
use heliograph_testkit::process::{option, workspace};

/// How long data may take: windows fill, what is rare happens again.
const PATIENCE: Duration = Duration::from_secs(90);

/// The part of the run that a picture shows, its end, in seconds.
const PICTURE_SECONDS: f64 = 300.0;

/// What boards are told is the time between two scrapes: four of them are the window of their rates.
const SMOOTH: Duration = Duration::from_secs(2);

/// Points of a line.
const POINTS: f64 = 80.0;

/// In the name of the board for a relay in one process.
const SINGLE: &str = "single";

/// The environment variable that names a directory for pictures, `docs/images` in the root for those of the
/// documentation.
const PICTURES: &str = "HELIOGRAPH_PICTURES";

/// A file with a picture; what pages of documentation should carry at most.
const PICTURE_BYTES_MAX: usize = 150_000;

fn view(board: &Board, range: Duration) -> View {
    // The board for one process is looked at over that, the others over the cluster.
    let cluster = if board.stem.contains(SINGLE) {
        ALONE
    } else {
        CLUSTER
    };
    View {
        chosen: vec![("cluster".to_owned(), cluster.to_owned())],
        scrape_interval: SMOOTH,
        step: Duration::from_secs_f64((range.as_secs_f64() / POINTS).max(1.0)),
        range,
    }
}

/// For how long back a panel may have been empty, in seconds: visitors do everything in that time, and restarts were
/// before it.
const LATELY: f64 = 40.0;

/// Panels, by board and title, that show what happens in a restart only; it is enough that they did since the load
/// began.
const RARE: [(&str, &str); 1] = [("gateway", "Going on at another matcher")];

/// Each has data now, but for what is rare: that had some since the load began, `started` in Unix seconds.
#[track_caller]
pub(crate) fn have_data(stand: &Stand, started: f64) {
    let boards = board::all();
    let mut empty = Vec::new();
    let all = wait::until(PATIENCE, || {
        let range = (started, live::now(&stand.prometheus));
        empty = live::idle_rules(&stand.prometheus);
        for board in &boards {
            let view = view(board, Duration::from_secs_f64(range.1 - range.0));
            let live = Live::new(&stand.prometheus, board, view);
            empty.extend(live.empty(range, range.1 - LATELY, &RARE));
        }
        Ok::<_, ()>(empty.is_empty().then_some(()))
    });
    let panels: usize = boards.iter().map(|board| board.panels.len()).sum();
    assert!(
        all == Ok(Some(())),
        "{} of the targets of {panels} panels and rules have no data:\n{}",
        empty.len(),
        empty.join("\n")
    );
    say(&format!("    {} boards with {panels} panels", boards.len()));
}

/// Whether pictures for the documentation are wanted: those show more than the tests need.
pub(crate) fn are_wanted() -> bool {
    option(PICTURES).is_some()
}

#[track_caller]
pub(crate) fn are_drawn(stand: &Stand, started: f64) {
    let end = live::now(&stand.prometheus);
    let range = ((end - PICTURE_SECONDS).max(started), end);
    let mut missing = Vec::new();
    for board in board::all() {
        let view = view(&board, Duration::from_secs_f64(range.1 - range.0));
        let live = Live::new(&stand.prometheus, &board, view);
        let subtitle = if board.stem.contains(SINGLE) {
            "a relay in one process, under load"
        } else {
            "3 gateways, 2 matchers, 2 ingest workers on one machine: load, a rolling restart, one process of each role lost for a while"
        };
        let scene = Scene {
            series: live.lines(range),
            marks: live.marks(range),
            range,
            subtitle: subtitle.to_owned(),
        };
        let picture = picture::draw(&board, &scene);
        if picture.svg.len() > PICTURE_BYTES_MAX {
            missing.push(format!("{}: {} bytes", board.stem, picture.svg.len()));
        }
        missing.extend(picture.missing);
        if let Some(directory) = option(PICTURES) {
            let directory = workspace().join(directory);
            let path = directory.join(format!("{}.svg", board.stem));
            fs::write(&path, picture.svg).unwrap_or_else(|error| panic!("{error}"));
            say(&format!("wrote {}", path.display()));
        }
    }
    assert!(missing.is_empty(), "not drawn:\n{}", missing.join("\n"));
}
