//! Conversion of TOML values to raw values.

use toml::de::DeValue;

use super::super::value_format::RawValue;

/// Returns a value without its TOML type; `None` for tables, and for lists of anything but texts.
pub(super) fn raw_value(value: &DeValue<'_>) -> Option<RawValue> {
    match value {
        DeValue::String(text) => Some(RawValue::Text(text.to_string())),
        DeValue::Integer(number) => {
            let digits = number.as_str();
            let decimal = u64::from_str_radix(digits, number.radix()).ok();
            Some(RawValue::Bare(decimal.map_or_else(|| digits.to_owned(), |number| number.to_string())))
        }
        DeValue::Float(number) => Some(RawValue::Bare(number.as_str().to_owned())),
        DeValue::Boolean(switch) => Some(RawValue::Bare(switch.to_string())),
        DeValue::Datetime(time) => Some(RawValue::Bare(time.to_string())),
        DeValue::Array(entries) => {
            let texts = entries.iter().map(|entry| entry.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map(RawValue::List)
        }
        DeValue::Table(_) => None,
    }
}
