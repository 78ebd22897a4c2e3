//! The environment's names, read from the annotated default itself, so that list and comments can't drift from it.

use super::DEFAULT_TOML;
use toml::Value;

/// What every name begins with; sections and keys follow, separated by two underscores.
pub(super) const PREFIX: &str = "GAVEL__";

/// One variable of the environment that sets a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvName {
    /// The whole name, such as `GAVEL__SERVER__LISTEN`.
    pub name: String,
    /// The dotted key, such as `server.listen`.
    pub key: String,
    /// `text`, `integer`, `true or false`, `list of texts` or `list of tables`.
    pub kind: &'static str,
    /// The default, as TOML.
    pub default: String,
    /// What `config.toml` says about it, as one line.
    pub comment: String,
}

/// All names, in the order of `config.toml`.
#[must_use]
pub fn env_names() -> Vec<EnvName> {
    let root: toml::Table = DEFAULT_TOML.parse().expect("a test holds config.toml to be valid");
    let mut names: Vec<EnvName> = Vec::new();
    let (mut section, mut in_list, mut comment) = (String::new(), false, String::new());
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix('#') {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(text.trim());
            continue;
        }
        if let Some(list) = line.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]")) {
            in_list = true;
            if let Some(value) = root.get(list)
                && !names.iter().any(|known| known.key == list)
            {
                names.push(name_of(list, value, &comment));
            }
        } else if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            (section, in_list) = (table.to_owned(), false);
        } else if let Some((key, _)) = line.split_once(" = ")
            && !in_list
            && let Some(value) = root.get(&section).and_then(|table| table.get(key))
        {
            names.push(name_of(&format!("{section}.{key}"), value, &comment));
        }
        comment.clear();
    }
    names
}

fn name_of(key: &str, value: &Value, comment: &str) -> EnvName {
    let kind = match value {
        Value::String(_) => "text",
        Value::Boolean(_) => "true or false",
        Value::Array(list) if list.iter().any(Value::is_table) => "list of tables",
        Value::Array(_) => "list of texts",
        _ => "integer",
    };
    EnvName {
        name: format!("{PREFIX}{}", key.to_uppercase().replace('.', "__")),
        key: key.to_owned(),
        kind,
        default: value.to_string(),
        comment: comment.to_owned(),
    }
}
