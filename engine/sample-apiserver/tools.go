//go:build tools

// Package sampleapiserver names upstream's sample of an aggregated API server, so
// that go.mod pins it. Nothing here is compiled: the engine builds the package by
// its own name.
package sampleapiserver

import _ "k8s.io/sample-apiserver"
