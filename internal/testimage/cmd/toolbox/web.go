package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// serve answers HTTP until TERM, then ends in peace with what is under way.
func serve(ctx context.Context, std stdio, args []string) error {
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	addr := flags.String("listen", ":8080", "address")
	file := flags.String("file", "", "answer with this file's content as it is at that moment")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return errUsage
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "listening on %s\n", listener.Addr())
	server := &http.Server{Handler: answer(host, *file), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(ctx), ignoreClosed(<-done))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// answer tells the host and the path, or what the file holds now; a file that
// isn't there is an unhealthy server, so that a test can turn a probe by a file.
func answer(host, file string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if file == "" {
			fmt.Fprintf(w, "%s %s\n", host, r.URL.Path)
			return
		}
		content, err := os.ReadFile(file)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(content) // the client is gone if this fails
	})
}

// get prints an answer, and fails unless it is a good one.
func get(ctx context.Context, std stdio, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(std.out, response.Body)
	err = errors.Join(err, response.Body.Close())
	if err == nil && response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("answer %s", response.Status)
	}
	return err
}
