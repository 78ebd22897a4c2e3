//! What an auctioneer sends: a lot to create, or a change to one, checked as far as one request can
//! tell. What the rules check is in the domain's `LotSpec::check`.

use super::lot::Format;
use crate::{config::Settings, http::body::parse};
use gavel_domain::{
    currency::Currency,
    lot::{
        access::{AccessRules, AliasKey, Registration},
        increments::Increments,
        spec::{English, Funding, LotSpec, Rules, SoftClose},
        view::LotView,
    },
    money::Amount,
    time::Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;

/// A lot as an auctioneer writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LotSpecBody {
    /// Required.
    pub title: Arc<str>,
    /// Empty by default.
    #[serde(default)]
    pub description: Arc<str>,
    /// The first configured by default.
    #[serde(default)]
    pub currency: Option<CurrencyBody>,
    /// `open` by default.
    #[serde(default = "open")]
    pub funding: Funding,
    /// Required.
    pub rules: RulesSpecBody,
    /// Waits for `/open`.
    #[serde(default)]
    pub draft: bool,
    /// At once by default.
    #[serde(default)]
    pub opens_at: Option<Timestamp>,
    /// Required; null for a hammer sale.
    #[serde(deserialize_with = "present")]
    pub closes_at: Option<Timestamp>,
    /// None by default.
    #[serde(default)]
    pub soft_close: Option<SoftClose>,
    /// Every bidder, by its own name, by default.
    #[serde(default)]
    pub access: AccessSpecBody,
}

/// Rules of access as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSpecBody {
    /// `none` by default.
    #[serde(default)]
    pub registration: Registration,
    /// False by default.
    #[serde(default)]
    pub aliases: bool,
}

impl AccessSpecBody {
    /// In the domain's words, with a key of the lot's own where it has aliases.
    #[must_use]
    pub fn rules(self) -> AccessRules {
        let key = || AliasKey(uuid::Uuid::new_v4().into_bytes());
        AccessRules { registration: self.registration, aliases: self.aliases.then(key) }
    }
}

/// A currency as written: the scale may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurrencyBody {
    /// A configured one.
    pub code: Arc<str>,
    /// If given, that of the configuration.
    #[serde(default)]
    pub scale: Option<u8>,
}

/// Rules as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesSpecBody {
    /// Required.
    pub format: Format,
    /// Required.
    pub start_price: Amount,
    /// None by default.
    #[serde(default)]
    pub reserve_price: Option<Amount>,
    /// None by default.
    #[serde(default)]
    pub buy_now_price: Option<Amount>,
    /// True by default.
    #[serde(default = "yes")]
    pub proxy: bool,
    /// The configured ones by default.
    #[serde(default)]
    pub increments: Option<Increments>,
}

const fn open() -> Funding {
    Funding::Open
}

const fn yes() -> bool {
    true
}

/// A field that may be null but not missing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Option::deserialize(deserializer)
}

/// Fields that a change may name.
const CHANGEABLE: [&str; 7] = ["title", "description", "currency", "rules", "opens_at", "closes_at", "soft_close"];

impl LotSpecBody {
    /// From a request's body.
    ///
    /// # Errors
    /// What is wrong, with the field's name where there is one.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        parse(body)
    }

    /// The lot with a JSON merge patch (RFC 7396) applied to what may be changed.
    ///
    /// # Errors
    /// What is wrong, with the field's name where there is one.
    pub fn patched(view: &LotView, patch: &[u8]) -> Result<Self, String> {
        let patch: Map<String, Value> = parse(patch)?;
        if let Some(unknown) = patch.keys().find(|key| !CHANGEABLE.contains(&key.as_str())) {
            return Err(format!("{unknown}: can't be changed (only {})", CHANGEABLE.join(", ")));
        }
        let mut whole = serde_json::to_value(Self::of(view)).map_err(|error| error.to_string())?;
        merge(&mut whole, Value::Object(patch));
        if let Value::Object(whole) = &mut whole {
            whole.entry("closes_at").or_insert(Value::Null); // null in a merge patch removes
        }
        serde_path_to_error::deserialize(whole).map_err(|error| format!("{}: {}", error.path(), error.inner()))
    }

    fn of(view: &LotView) -> Self {
        let LotSpec { title, description, currency, funding, rules, draft, opens_at, soft_close, .. } = view.spec.clone();
        let Rules::English(English { start_price, reserve_price, buy_now_price, proxy, increments }) = rules;
        let rules =
            RulesSpecBody { format: Format::English, start_price, reserve_price, buy_now_price, proxy, increments: Some(increments) };
        let currency = Some(CurrencyBody { code: currency.code, scale: Some(currency.scale) });
        Self {
            title,
            description,
            currency,
            funding,
            rules,
            draft,
            opens_at,
            closes_at: view.closes_at,
            soft_close,
            access: AccessSpecBody::default(),
        }
    }

    /// With the configuration's defaults, in the domain's words.
    ///
    /// # Errors
    /// What is wrong, with the field's name.
    pub fn into_spec(self, settings: &Settings) -> Result<LotSpec, String> {
        let currency = currency(self.currency.as_ref(), settings)?;
        self.in_currency(currency, settings)
    }

    /// As [`LotSpecBody::into_spec`], for a change to a lot: the currency it has is good, whether still configured or not.
    ///
    /// # Errors
    /// What is wrong, with the field's name.
    pub fn into_changed_spec(self, before: &LotSpec, settings: &Settings) -> Result<LotSpec, String> {
        let own = &before.currency;
        let keeps =
            self.currency.as_ref().is_some_and(|asked| asked.code == own.code && asked.scale.is_none_or(|scale| scale == own.scale));
        let currency = if keeps { own.clone() } else { currency(self.currency.as_ref(), settings)? };
        self.in_currency(currency, settings)
    }

    fn in_currency(self, currency: Currency, settings: &Settings) -> Result<LotSpec, String> {
        let RulesSpecBody { start_price, reserve_price, buy_now_price, proxy, increments, .. } = self.rules;
        let increments = match increments {
            Some(increments) => increments,
            None => settings.lots.increments().map_err(|error| format!("rules.increments: {error}"))?,
        };
        Ok(LotSpec {
            title: self.title,
            description: self.description,
            currency,
            funding: self.funding,
            rules: Rules::English(English { start_price, reserve_price, buy_now_price, proxy, increments }),
            draft: self.draft,
            opens_at: self.opens_at,
            closes_at: self.closes_at,
            soft_close: self.soft_close,
        })
    }
}

fn currency(asked: Option<&CurrencyBody>, settings: &Settings) -> Result<Currency, String> {
    let known = match asked {
        None => settings.currencies.first(),
        Some(asked) => settings.currencies.iter().find(|known| *known.code == *asked.code),
    };
    let known = known.ok_or_else(|| format!("currency.code: {} is not configured", asked.map_or("none", |asked| &asked.code)))?;
    if let Some(scale) = asked.and_then(|asked| asked.scale).filter(|scale| *scale != known.scale) {
        return Err(format!("currency.scale: {} has scale {}, not {scale}", known.code, known.scale));
    }
    Ok(Currency { code: known.code.as_str().into(), scale: known.scale })
}

/// RFC 7396: objects merge, null removes, anything else replaces.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"title":"A","rules":{"format":"english","start_price":100},"closes_at":null}"#;

    fn spec(body: &str) -> Result<LotSpec, String> {
        let spec = LotSpecBody::parse(body.as_bytes())?.into_spec(&Settings::default())?;
        spec.check(Timestamp::from_millis(1_800_000_000_000)).map_err(|error| error.to_string())?;
        Ok(spec)
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        let spec = spec(GOOD).unwrap();
        assert_eq!((&*spec.currency.code, spec.funding, spec.english().proxy), ("DKP", Funding::Open, true));
        assert!(spec.opens_at.is_none() && spec.soft_close.is_none() && !spec.draft);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |field: &str| GOOD.replacen('{', &format!("{{{field},"), 1);
        let rules = |rules: &str| format!(r#"{{"title":"A","rules":{{"format":"english",{rules}}},"closes_at":null}}"#);
        let long = format!(r#"{{"title":"{}","rules":{{"format":"english","start_price":1}},"closes_at":null}}"#, "x".repeat(201));
        let cases = [
            (with(r#""surprise":1"#), "surprise"),
            (r#"{"title":"A","rules":{"format":"english","start_price":100}}"#.to_owned(), "closes_at"),
            (r#"{"rules":{"format":"english","start_price":100},"closes_at":null}"#.to_owned(), "title"),
            (long, "title"),
            (GOOD.replace("\"A\"", "\"\\u0007\""), "title"),
            (rules(r#""start_price":1.5"#), "rules.start_price"),
            (rules(r#""start_price":1e2"#), "rules.start_price"),
            (rules(r#""start_price":100.0"#), "rules.start_price"),
            (rules(r#""start_price":-1"#), "rules.start_price"),
            (rules(r#""start_price":9007199254740992"#), "rules.start_price"),
            (rules(r#""start_price":"100""#), "rules.start_price"),
            (rules(r#""start_price":100,"reserve_price":99"#), "reserve_price"),
            (rules(r#""start_price":100,"buy_now_price":99"#), "buy_now_price"),
            (rules(r#""start_price":1,"increments":[]"#), "at least one"),
            (rules(r#""start_price":1,"increments":[{"from":5,"step":1}]"#), "from 0"),
            (rules(r#""start_price":1,"increments":[{"from":0,"step":0}]"#), "step"),
            (rules(r#""start_price":1,"increments":[{"from":0,"step":1},{"from":0,"step":2}]"#), "row 2"),
            (GOOD.replace("english", "raffle"), "raffle"),
            (GOOD.replace("null", "\"2001-01-01T00:00:00.000Z\""), "closes_at"),
            (GOOD.replace("null", "\"tomorrow\""), "closes_at"),
            (with(r#""currency":{"code":"ZZZ"}"#), "currency.code"),
            (with(r#""currency":{"code":"USD","scale":3}"#), "currency.scale"),
            (with(r#""funding":"credit""#), "funding"),
            (with(r#""soft_close":{"window_ms":0,"mode":"reset","by_ms":1}"#), "soft_close.window_ms"),
            (with(r#""soft_close":{"window_ms":1,"mode":"jump","by_ms":1}"#), "jump"),
        ];
        for (body, names) in cases {
            let error = spec(&body).expect_err(&body);
            assert!(error.contains(names), "{body}\n  says: {error}\n  should name: {names}");
        }
    }

    #[test]
    fn a_patch_replaces_merges_and_removes() {
        let mut value = serde_json::json!({"a": {"b": 1, "c": 2}, "d": 3});
        merge(&mut value, serde_json::json!({"a": {"b": null, "e": [4]}, "d": {"f": 5}}));
        assert_eq!(value, serde_json::json!({"a": {"c": 2, "e": [4]}, "d": {"f": 5}}));
    }
}
