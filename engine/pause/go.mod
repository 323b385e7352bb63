module skep.dev/engine/pause

go 1.26.0
