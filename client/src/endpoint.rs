//! Pure: what the address of a broker says before anybody dials it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address in the one form that it is compared in: without a slash at its end.
pub(crate) fn normal(address: &str) -> &str {
    address.trim().trim_end_matches('/')
}

/// Whether it can be dialled by this build: HTTP without TLS, at some host.
pub(crate) fn is_plain_http(address: &str) -> bool {
    host(address).is_some_and(|host| !host.is_empty())
}

/// Whether it leads to the machine of whoever dials it.
pub(crate) fn is_loopback(address: &str) -> bool {
    let Some(host) = host(address) else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip == Ipv4Addr::UNSPECIFIED,
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip == Ipv6Addr::UNSPECIFIED,
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// The host of a plain address, with the brackets of an IPv6 one.
fn host(address: &str) -> Option<&str> {
    let rest = address.strip_prefix("http://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    if let Some(end) = authority.find(']') {
        return authority.get(..=end);
    }
    authority.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_where_they_lead() {
        let check = |address: &str, dialled: bool, loopback: bool| {
            let address = normal(address);
            assert_eq!((is_plain_http(address), is_loopback(address)), (dialled, loopback), "{address}");
        };
        check("http://localhost:8080/", true, true);
        check("http://LOCALHOST", true, true);
        check("http://127.3.2.1:80", true, true);
        check("http://0.0.0.0:80", true, true);
        check("http://[::1]:8080", true, true);
        check("http://[::]/", true, true);
        check("http://[fd00::1]:8080", true, false);
        check("http://broker-1.example:8080", true, false);
        check("http://10.0.0.7", true, false);
        check("https://localhost:8080", false, false);
        check("unix:///run/broker", false, false);
        check("http://", false, false);
        check("", false, false);
    }
}
