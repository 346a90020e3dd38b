package jetstream

import "github.com/nats-io/nats.go"

// InProcess is how to connect to a server without what [Server.Connect] does.
func InProcess(s *Server) nats.InProcessConnProvider { return inProcess{s} }
