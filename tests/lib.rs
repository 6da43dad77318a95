//! The integration tests live in the `it` test binary; this library is empty so that the package has a target to depend on.
