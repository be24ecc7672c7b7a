//! `cargo xtask package check`: every package made of a quickly compiled program, looked at with the
//! tools of those who will use it, and run.

mod deb;
mod docs;
mod image;
mod reproducible;
mod room;
mod sbom;
mod scripts;
mod systemd;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

use super::{Parts, image::archive, program::Profile, put};
use deb::Package;
use image::Layout;
use room::Room;

/// A check: what holds if it passes.
type Check = (&'static str, fn(&Products) -> Result<()>);

/// What is checked, each made once.
struct Products {
    /// With a copy of the program: a check builds again.
    parts: Parts,
    _program: TempDir,
    image: Vec<u8>,
    layout: Layout,
    package: Package,
}

impl Products {
    fn make() -> Result<Self> {
        let mut parts = Parts::build(Profile::Check)?;
        let program = room::scratch()?;
        let copy = program.path().join("heliograph");
        fs::copy(&parts.program, &copy).context("a copy of the program")?;
        parts.program = copy;
        let image = archive(&parts)?;
        Ok(Self {
            layout: Layout::unpack(&image)?,
            package: Package::build(&parts)?,
            image,
            parts,
            _program: program,
        })
    }
}

const CHECKS: [Check; 13] = [
    ("static: the program serves from an empty root", serves),
    (
        "static: no path of this machine is in the program",
        reproducible::paths,
    ),
    ("image: every blob is what its digest says", image::blobs),
    (
        "image: the entry point serves from the unpacked layer",
        image::serves,
    ),
    ("image: the Dockerfile makes the same", image::dockerfile),
    ("deb: Debian's tools take the package", deb::tools),
    (
        "deb: installed, it serves; upgraded, removed and purged, data stays",
        deb::life,
    ),
    (
        "deb: where systemd runs, it is started, restarted, and stopped with all roles",
        scripts::running,
    ),
    (
        "systemd: units are right, hardened, and fit the program",
        systemd::units,
    ),
    (
        "systemd: the steps by hand bring what the package brings",
        systemd::by_hand,
    ),
    (
        "sbom: it names what a build compiles, with version and licence",
        sbom::complete,
    ),
    (
        "release: two runs give the same bytes, and checksums fit",
        reproducible::twice,
    ),
    (
        "docs: commands of the pages are run, or listed as not run",
        docs::commands,
    ),
];

/// Runs all checks, whether or not one fails.
///
/// # Errors
///
/// One fails, or the program doesn't build.
pub(super) fn run() -> Result<()> {
    let start = Instant::now();
    let products = Products::make()?;
    println!("made    {:5.1} s", start.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let start = Instant::now();
        // Clients of tests panic.
        let result = catch_unwind(AssertUnwindSafe(|| check(&products)))
            .unwrap_or_else(|_message| Err(anyhow!("panicked, see above")));
        let took = start.elapsed().as_secs_f64();
        match result {
            Ok(()) => println!("ok      {took:5.1} s  {name}"),
            Err(error) => {
                println!("FAILED  {took:5.1} s  {name}\n{error:#}");
                failed.push(name);
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
    Ok(())
}

/// Only the program and `/data`.
fn serves(products: &Products) -> Result<()> {
    let root = room::scratch()?;
    fs::create_dir(root.path().join("data")).context("/data")?;
    let program = fs::read(&products.parts.program).context("the program")?;
    put(&root.path().join("heliograph"), &program)?;
    make_runnable(&root.path().join("heliograph"))?;
    let (listen, admin) = Room::addresses();
    let arguments = [
        "--data=/data".to_owned(),
        format!("--listen={listen}"),
        format!("--set=admin.listen={admin}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Room::new(root.path(), "/data")?.serve("/heliograph", &arguments)
}

fn make_runnable(program: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).context("mode of the program")
}
