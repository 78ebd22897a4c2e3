//! Layers of configuration, merged into one tree in which each value still knows its place.
//!
//! The layers' texts are thought to stand one behind the other, and spans are offsets into that row of texts. A span alone
//! then tells the layer and the place in it, through the merge and through serde.

use super::error::{ConfigError, Place};
use super::names::PREFIX;
use super::{DEFAULT_TOML, Overrides, Settings};
use serde::Deserialize;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

enum Origin {
    File(String),
    Variable { name: String, path: Vec<String> },
    Flag { name: &'static str, path: [&'static str; 2] },
}

struct Layer {
    origin: Origin,
    start: usize,
    text: String,
}

pub(super) fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Settings, ConfigError> {
    let layers = collect(file, env, overrides)?;
    let mut tree = Spanned::new(0..0, DeTable::new());
    for layer in &layers.0 {
        let addition = layers.parse(layer, tree.get_ref())?;
        merge(tree.get_mut(), addition);
    }
    let settings = Settings::deserialize(Deserializer::from(tree.clone())).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let mut path = Vec::new();
        path_at(tree.get_ref(), &span, &mut path);
        layers.wrong(&span, Some(path.join(".")), error.message())
    })?;
    settings.check().map_err(|(path, reason)| {
        let span = span_of(tree.get_ref(), path).unwrap_or(0..0);
        layers.wrong(&span, Some(path.join(".")), &reason)
    })?;
    Ok(settings)
}

fn collect(file: Option<&Path>, env: impl Iterator<Item = (String, String)>, overrides: &Overrides) -> Result<Layers, ConfigError> {
    let mut layers = Layers(Vec::new());
    layers.push(Origin::File("built-in config.toml".into()), DEFAULT_TOML.into());
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        layers.push(Origin::File(path.display().to_string()), text);
    }
    let mut variables: Vec<_> = env.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // The process' environment has no order; errors should.
    variables.sort();
    for (name, value) in variables {
        let path = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        layers.push(Origin::Variable { name, path }, value);
    }
    if let Some(dir) = &overrides.data_dir {
        let text = dir.to_str().ok_or_else(|| ConfigError::Wrong {
            place: Place::Flag("--data-dir"),
            key: Some("server.data_dir".into()),
            reason: "the path is not UTF-8".into(),
        })?;
        layers.push(Origin::Flag { name: "--data-dir", path: ["server", "data_dir"] }, text.into());
    }
    if let Some(address) = overrides.listen {
        layers.push(Origin::Flag { name: "--listen", path: ["server", "listen"] }, address.to_string());
    }
    if overrides.demo {
        layers.push(Origin::Flag { name: "--demo", path: ["access", "anonymous"] }, "viewer".into());
    }
    Ok(layers)
}

struct Layers(Vec<Layer>);

impl Layers {
    fn push(&mut self, origin: Origin, text: String) {
        // One apart, so that the end of a text is not the start of the next one.
        let start = self.0.last().map_or(0, |last| last.start + last.text.len() + 1);
        self.0.push(Layer { origin, start, text });
    }

    /// The layer as a tree. `known` is the tree so far: the default layer comes first and names every key.
    fn parse<'a>(&self, layer: &'a Layer, known: &DeTable<'_>) -> Result<DeTable<'a>, ConfigError> {
        let whole = layer.start..layer.start + layer.text.len();
        match &layer.origin {
            Origin::File(_) => {
                let table = DeTable::parse(&layer.text).map_err(|error| {
                    let span = error.span().unwrap_or(0..0);
                    self.wrong(&(span.start + layer.start..span.end + layer.start), None, error.message())
                })?;
                Ok(shift_table(table.into_inner(), layer.start))
            }
            Origin::Variable { name, path } => {
                let unknown = |reason: String| ConfigError::UnknownVariable { name: name.clone(), reason };
                let value = match find(known, path) {
                    None => return Err(unknown(format!("no key `{}`", path.join(".")))),
                    Some(DeValue::Table(_)) => {
                        return Err(unknown(format!("`{}` is a section, not a key", path.join("."))));
                    }
                    Some(kind) => read_variable(&layer.text, kind, layer.start),
                };
                Ok(nest(path, value, &whole))
            }
            Origin::Flag { path, .. } => Ok(nest(path, DeValue::String(Cow::Borrowed(&layer.text)), &whole)),
        }
    }

    fn wrong(&self, span: &Range<usize>, key: Option<String>, message: &str) -> ConfigError {
        let layer = self.0.iter().rev().find(|layer| layer.start <= span.start).unwrap_or(&self.0[0]);
        let place = match &layer.origin {
            Origin::File(file) => line_of(file, &layer.text, span.start - layer.start),
            Origin::Variable { name, .. } => Place::Variable(name.clone()),
            Origin::Flag { name, .. } => Place::Flag(name),
        };
        // serde speaks of fields; who writes TOML calls them keys.
        let reason = message.trim().replace("unknown field", "unknown key").replace("missing field", "missing key");
        ConfigError::Wrong { place, key: key.filter(|key| !key.is_empty()), reason: reason.replace('\n', " ") }
    }
}

/// Reads a variable as the type its key has by default. What doesn't parse stays text, and is refused with the type wanted.
fn read_variable<'a>(text: &'a str, kind: &DeValue<'_>, start: usize) -> DeValue<'a> {
    let plain = || DeValue::String(Cow::Borrowed(text));
    if kind.is_str() {
        return plain();
    }
    if let Ok(value) = DeValue::parse(text.trim()) {
        return shift_value(value.into_inner(), start);
    }
    if kind.is_array() && !text.trim_start().starts_with(['[', '{', '"', '\'']) {
        let span = start..start + text.len();
        let mut list = DeArray::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            list.push(Spanned::new(span.clone(), DeValue::String(Cow::Borrowed(item))));
        }
        return DeValue::Array(list);
    }
    plain()
}

fn nest<'a, S: AsRef<str>>(path: &[S], value: DeValue<'a>, span: &Range<usize>) -> DeTable<'a> {
    let mut table = DeTable::new();
    if let Some((first, rest)) = path.split_first() {
        let value = if rest.is_empty() { value } else { DeValue::Table(nest(rest, value, span)) };
        let key = Cow::Owned(first.as_ref().to_owned());
        table.insert(Spanned::new(span.clone(), key), Spanned::new(span.clone(), value));
    }
    table
}

/// Tables merge key by key; anything else replaces what was there.
fn merge<'a>(into: &mut DeTable<'a>, from: DeTable<'a>) {
    for (key, value) in from {
        let Some((old_key, mut old)) = into.remove_entry(&key) else {
            into.insert(key, value);
            continue;
        };
        match (old.get_mut(), value.get_ref()) {
            (DeValue::Table(old_table), DeValue::Table(_)) => {
                if let DeValue::Table(table) = value.into_inner() {
                    merge(old_table, table);
                }
                into.insert(old_key, old);
            }
            _ => {
                into.insert(key, value);
            }
        }
    }
}

fn shift_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    table
        .into_iter()
        .map(|(key, value)| {
            let key_span = key.span();
            (Spanned::new(key_span.start + by..key_span.end + by, key.into_inner()), shift_spanned(value, by))
        })
        .collect()
}

fn shift_spanned(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    Spanned::new(span.start + by..span.end + by, shift_value(value.into_inner(), by))
}

fn shift_value(value: DeValue<'_>, by: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(shift_table(table, by)),
        DeValue::Array(list) => {
            let mut shifted = DeArray::new();
            for item in list {
                shifted.push(shift_spanned(item, by));
            }
            DeValue::Array(shifted)
        }
        other => other,
    }
}

fn find<'t, 'a>(table: &'t DeTable<'a>, path: &[String]) -> Option<&'t DeValue<'a>> {
    let (first, rest) = path.split_first()?;
    let value = table.iter().find(|(key, _)| key.get_ref().as_ref() == first).map(|(_, value)| value.get_ref())?;
    if rest.is_empty() { Some(value) } else { find(value.as_table()?, rest) }
}

fn span_of(table: &DeTable<'_>, path: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = path.split_first()?;
    let value = table.iter().find(|(key, _)| key.get_ref().as_ref() == *first).map(|(_, value)| value)?;
    if rest.is_empty() { Some(value.span()) } else { span_of(value.get_ref().as_table()?, rest) }
}

/// The dotted key whose name or value covers `span`. Looks into every table: a section's own span need not cover what
/// another layer put into it.
fn path_at(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        if path_in(value, span, path) || covers(key.span()) || covers(value.span()) {
            return true;
        }
        path.pop();
    }
    false
}

fn path_in(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    match value.get_ref() {
        DeValue::Table(table) => path_at(table, span, path),
        DeValue::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                path.push(index.to_string());
                if path_in(item, span, path) || (item.span().start <= span.start && span.end <= item.span().end) {
                    return true;
                }
                path.pop();
            }
            false
        }
        _ => false,
    }
}

fn line_of(file: &str, text: &str, offset: usize) -> Place {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or_default();
    Place::Line {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1,
        column: text[line_start..offset].chars().count() + 1,
        text: masked(line.trim(), &text[..line_start]),
    }
}

/// A line that sets a secret is shown without its value, also in an inline table or over several lines; a URL without its
/// password.
fn masked(line: &str, before: &str) -> String {
    let inside_text = ["\"\"\"", "'''"].iter().any(|quotes| before.matches(quotes).count() % 2 == 1);
    if inside_text {
        return "********".to_owned();
    }
    for key in ["secret", "password"] {
        if let Some(at) = assigned(line, key) {
            return format!("{}{key} = ********", &line[..at]);
        }
    }
    if line.contains("://") || assigned(line, "url").is_some() { gavel_persistence::redis::masked(line) } else { line.to_owned() }
}

/// Where a line names a key, by itself or at the end of a dotted one.
fn assigned(line: &str, key: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let whole = |at: &usize| !line[..*at].ends_with(is_part) && !line[*at + key.len()..].starts_with(is_part);
    line.match_indices(key).map(|(at, _)| at).find(whole)
}
