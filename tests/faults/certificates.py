"""Valid and invalid certificates of an authority that exists during the tests."""

import datetime as dt
import ssl as tls
from typing import Final

import trustme

_LONG_AGO: Final = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


class Authority:
    """A private certificate authority, and certificates that it did not sign."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.trusting = self.trust()
        """A client's context that trusts it."""

    def trust(self) -> tls.SSLContext:
        """Return a new context of a client that trusts it."""
        context = tls.create_default_context(tls.Purpose.SERVER_AUTH)
        self._ca.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
        return context

    @staticmethod
    def _context(certificate: trustme.LeafCert) -> tls.SSLContext:
        context = tls.create_default_context(tls.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
        return context

    def good(self) -> tls.SSLContext:
        """Return a server's context with a valid certificate for 127.0.0.1."""
        return self._context(self._ca.issue_cert("127.0.0.1", "localhost"))

    def other_host(self) -> tls.SSLContext:
        """Return a server's context with the certificate of another host."""
        return self._context(self._ca.issue_cert("elsewhere.example"))

    def expired(self) -> tls.SSLContext:
        """Return a server's context with an expired certificate."""
        return self._context(self._ca.issue_cert("127.0.0.1", not_after=_LONG_AGO))

    def unknown(self) -> tls.SSLContext:
        """Return a server's context with a certificate of an unknown authority."""
        return self._context(trustme.CA().issue_cert("127.0.0.1"))

    def self_signed(self) -> tls.SSLContext:
        """Return a server's context with a self-signed certificate."""
        authority = trustme.CA()
        context = tls.create_default_context(tls.Purpose.CLIENT_AUTH)
        with (
            authority.private_key_pem.tempfile() as key,
            authority.cert_pem.tempfile() as certificate,
        ):
            context.load_cert_chain(certificate, key)
        return context
