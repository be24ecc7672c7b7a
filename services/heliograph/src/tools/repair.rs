//! `repair`: a log that is damaged where a crash can't have done it, as far as it can be read.

use std::io::Write;

use super::store::Place;

pub(crate) fn run(place: &Place, out: &mut impl Write) -> anyhow::Result<()> {
    let repaired = place.repair()?;
    if repaired.is_empty() {
        return Ok(writeln!(out, "the log is not damaged")?);
    }
    for segment in repaired {
        let path = segment.path.display();
        match &segment.damaged {
            Some(damaged) => writeln!(
                out,
                "{path}: {} events kept, {} bytes lost; the damaged file is {}",
                segment.events,
                segment.bytes_lost,
                damaged.display()
            )?,
            None => writeln!(out, "{path}: was missing, its events are lost")?,
        }
    }
    Ok(())
}
