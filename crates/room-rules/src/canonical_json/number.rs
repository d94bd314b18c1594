//! Numbers, including those that only room versions 1 to 5 allow.

use std::{borrow::Cow, fmt::Write as _};

/// A JSON number.
#[derive(Clone, Debug, PartialEq)]
pub enum Number<'a> {
    /// An integer that fits.
    Int(i64),
    /// The canonical text of a larger integer or of a float.
    Text(Cow<'a, str>),
}

impl Number<'_> {
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Int(int) => write!(out, "{int}").expect("writing to a String never fails"),
            Self::Text(text) => out.push_str(text),
        }
    }
}

/// Writes a float as the JSON encoder of Python does, `None` if it is not finite.
///
/// The specification leaves floats open, but events of old rooms that hold them were hashed and signed by
/// servers that use that encoder, so that its output is what their signatures cover: the shortest digits that
/// read back to the same value, an exponent of at least two digits below 1e-4 and from 1e16 on, and otherwise
/// at least one digit after the point.
pub(super) fn float_text(float: f64) -> Option<String> {
    if !float.is_finite() {
        return None;
    }
    let shortest = format!("{float:e}");
    let (mantissa, exponent) = shortest.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");

    let mut out = String::from(sign);
    if (-4..0).contains(&exponent) {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
        out.push_str(&digits);
    } else if (0..16).contains(&exponent) {
        let integer_digits = exponent as usize + 1;
        if digits.len() <= integer_digits {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', integer_digits - digits.len()));
            out.push_str(".0");
        } else {
            out.push_str(&digits[..integer_digits]);
            out.push('.');
            out.push_str(&digits[integer_digits..]);
        }
    } else {
        out.push_str(mantissa);
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "e{sign}{:02}", exponent.unsigned_abs()).expect("writing to a String never fails");
    }
    Some(out)
}
