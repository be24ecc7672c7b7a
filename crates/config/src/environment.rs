//! Variables of the environment, and which of them aren't meant for the program.

/// What every variable of the program begins with.
pub(crate) const PREFIX: &str = "HELIOGRAPH_";

/// Options of the tests; the program doesn't look at them.
const TEST_PREFIX: &str = "HELIOGRAPH_TEST_";

/// The variables of this process that begin with `HELIOGRAPH_`, for [`load`](crate::load). What
/// isn't Unicode is replaced by U+FFFD, so that its check names it.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        name.starts_with(PREFIX)
            .then(|| (name, value.to_string_lossy().into_owned()))
    })
}

/// Whether a variable is a setting, known or not.
pub(crate) fn is_setting(name: &str, value: &str) -> bool {
    name.starts_with(PREFIX) && !name.starts_with(TEST_PREFIX) && !is_service_link(name, value)
}

/// Kubernetes gives each pod variables for every service of its namespace, named after it: with a
/// service "heliograph-gateway" there are `HELIOGRAPH_GATEWAY_SERVICE_HOST`,
/// `HELIOGRAPH_GATEWAY_PORT=tcp://10.0.0.1:80` and more. They must not look like misspelt keys.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = value.starts_with("tcp://") || value.starts_with("udp://");
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_url)
        || name.split_once("_PORT_").is_some_and(|(_, rest)| {
            rest.starts_with(|first: char| first.is_ascii_digit())
                && (rest.contains("_TCP") || rest.contains("_UDP"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_and_options_of_tests_are_no_settings() {
        for (name, value) in [
            ("HELIOGRAPH_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("HELIOGRAPH_GATEWAY_SERVICE_PORT_HTTP", "80"),
            ("HELIOGRAPH_PORT", "tcp://10.0.0.1:80"),
            ("HELIOGRAPH_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("HELIOGRAPH_TEST_EVENTS", "x"),
            ("HOME", "x"),
        ] {
            assert!(!is_setting(name, value), "{name}");
        }
    }

    #[test]
    fn keys_and_misspelt_keys_are_settings() {
        for key in crate::KEYS {
            assert!(is_setting(&key.env(), "x"), "{}", key.name);
        }
        assert!(is_setting("HELIOGRAPH_GATEWAY_PORT", "80"));
    }
}
