# tests/: what it builds and installs

# Real clients, the conformance suites and a browser, all in Node; tests/clients/install.sh gets what they need.
TESTS += %D%/clients/faults.mjs
TESTS += %D%/clients/sdk.mjs
TESTS += %D%/clients/streams.mjs
TESTS += %D%/conformance/run.mjs
EXTRA_DIST += \
	%D%/clients/faults.mjs \
	%D%/clients/install.sh \
	%D%/clients/lib.mjs \
	%D%/clients/.npmrc \
	%D%/clients/package.json \
	%D%/clients/package-lock.json \
	%D%/clients/sdk.mjs \
	%D%/clients/streams.mjs \
	%D%/conformance/not-yet \
	%D%/conformance/run.mjs \
	%D%/conformance/site
