//! The page that a browser sees: what this is and how to connect.

use std::fmt::Write as _;

use crate::Options;

/// Builds the page; `host` is what the browser asked for.
pub(crate) fn page(options: &Options, host: Option<&str>) -> String {
    let info = options.info();
    let name = escape(&info.name);
    let url = options.urls.iter().next().map_or_else(
        || format!("ws://{}", host.unwrap_or("this-host")),
        str::to_owned,
    );
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}</title>\n<style>\n\
         body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto;\
          padding: 0 1.2rem; color: #222; background: #fdfcf8 }}\n\
         h1 {{ margin-bottom: 0 }}\n\
         code {{ background: #f0ece0; padding: .25rem .5rem; border-radius: .3rem;\
          overflow-wrap: anywhere }}\n\
         footer {{ margin-top: 3rem; color: #777; font-size: .9rem }}\n\
         @media (prefers-color-scheme: dark) {{ body {{ color: #ddd; background: #181715 }}\
          code {{ background: #2c2a25 }} }}\n\
         </style>\n</head>\n<body>\n<h1>{name}</h1>\n"
    );
    if !info.description.is_empty() {
        paragraph(&mut page, &escape(&info.description));
    }
    paragraph(
        &mut page,
        &format!(
            "This is a <a href=\"https://nostr.com\">Nostr</a> relay. Add this address to the \
             relay list of your client:</p>\n<p><code>{}</code>",
            escape(&url)
        ),
    );
    if !info.contact.is_empty() {
        paragraph(&mut page, &format!("Contact: {}", escape(&info.contact)));
    }
    for (label, link) in [
        ("Terms of service", &info.terms_of_service),
        ("Privacy", &info.privacy_policy),
    ] {
        if link.starts_with("https://") || link.starts_with("http://") {
            paragraph(
                &mut page,
                &format!("<a href=\"{}\">{label}</a>", escape(link)),
            );
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let footer = write!(
        page,
        "<footer>Heliograph {version}</footer>\n</body>\n</html>\n"
    );
    footer.expect("writing to a string can't fail");
    page
}

fn paragraph(page: &mut String, html: &str) {
    writeln!(page, "<p>{html}</p>").expect("writing to a string can't fail");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_operator_is_not_markup() {
        assert_eq!(escape("<b>\"&'"), "&lt;b&gt;&quot;&amp;&#39;");
    }
}
