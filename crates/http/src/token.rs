//! Where the access token of a request is found.

use std::borrow::Cow;

use http::{header, request::Parts};

/// The access token of a request: from the `Authorization` header, or, as old clients still send it, from the
/// `access_token` query parameter. The header wins. `None` if there is neither, or if the header is of another scheme.
pub fn access_token(parts: &Parts) -> Option<Cow<'_, str>> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(Cow::Borrowed(token));
    }
    let query = parts.uri.query()?;
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, value)| key == "access_token" && !value.is_empty())
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, authorization: Option<&str>) -> Parts {
        let mut request = http::Request::builder().uri(uri);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn header_wins_over_query() {
        assert_eq!(access_token(&parts("/?access_token=query", Some("Bearer head"))).unwrap(), "head");
    }

    #[test]
    fn scheme_is_case_insensitive() {
        assert_eq!(access_token(&parts("/", Some("bearer abc"))).unwrap(), "abc");
    }

    #[test]
    fn query_value_is_decoded() {
        assert_eq!(access_token(&parts("/?a=b&access_token=x%2By", None)).unwrap(), "x+y");
    }

    #[test]
    fn other_schemes_and_empty_tokens_are_no_token() {
        assert_eq!(access_token(&parts("/", Some("Basic abc"))), None);
        assert_eq!(access_token(&parts("/", Some("Bearer "))), None);
        assert_eq!(access_token(&parts("/?access_token=", None)), None);
        assert_eq!(access_token(&parts("/", None)), None);
    }
}
