//go:build tools

// Package metricsserver names metrics-server, so that go.mod pins it. Nothing
// here is compiled: the engine builds the package by its own name.
package metricsserver

import _ "sigs.k8s.io/metrics-server/cmd/metrics-server"
