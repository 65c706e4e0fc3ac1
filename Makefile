# One verb per thing a person does here. Every target works from a clean clone and none needs root,
# except that `make test` asks sudo for the packages it finds missing, and says which and why.

CARGO  ?= cargo
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

# The dev profile builds in a third of the time; RELEASE=1 asks for the other.
PROFILE      = $(if $(RELEASE),release,debug)
PROFILE_FLAG = $(if $(RELEASE),--release)

# How long `make fuzz` runs each target.
FUZZ_SECONDS ?= 600

# A loader looks for NVML under this name, so a replay takes the place of a driver's library by its path alone.
define place_replay
	install -D -m 755 $(TARGET)/$(PROFILE)/libnvidia_ml.so $(TARGET)/replay/libnvidia-ml.so.1
endef

# Likewise the client library of DCGM.
define place_host_engine
	install -D -m 755 $(TARGET)/$(PROFILE)/libdcgm.so $(TARGET)/replay/libdcgm.so.4
endef

.PHONY: demo test bench lint replay fuzz deb

# A verifier and two reporting nodes on this machine, ending in the status table. Installs nothing. KEEP=1 leaves it
# running for a look around.
demo:
	$(CARGO) build --locked $(PROFILE_FLAG) -p weighbridge-replay -p weighbridge-agent -p weighbridge-verifier -p weighbridge-testbed
	$(place_replay)
	$(TARGET)/$(PROFILE)/weighbridge-testbed demo $(if $(KEEP),--keep)

# Everything a change must pass: the tests of all crates, then the packages in a fresh Debian root.
test: replay
	.ci/ensure-test-tools
	$(CARGO) build --locked --workspace $(PROFILE_FLAG)
	$(CARGO) test --locked --workspace $(PROFILE_FLAG)
	packaging/test-debs

# The figures of docs/performance.md, each beside a reference operation of the same run.
# BENCH=--quick tells within two minutes whether everything runs; its figures are not for publishing.
bench:
	.ci/ensure-bench-tools
	$(CARGO) build --locked --release -p weighbridge-agent
	$(CARGO) build --locked --release -p weighbridge-replay -p weighbridge-verifier -p weighbridge-testbed
	$(TARGET)/release/weighbridge-testbed bench $(BENCH)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --workspace

# The library that plays a scenario through NVML's C interface, and the host engine of DCGM that is none.
replay:
	$(CARGO) build --locked $(PROFILE_FLAG) -p weighbridge-replay -p weighbridge-dcgm
	$(place_replay)
	$(place_host_engine)

fuzz:
	.ci/fuzz $(FUZZ_SECONDS)

# The two packages as they would be shipped, in $(TARGET)/debian.
deb:
	packaging/build-debs release
