//go:build tools

// Package conformance names upstream's end-to-end suite and its runner, so that
// go.mod pins both. Nothing here is compiled: the engine builds the two packages
// by their own names.
package conformance

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "k8s.io/kubernetes/test/e2e"
)
