// Command nginx stands in for the nginx image where there is no network: it
// listens on port 80, answers with a page of its own that a test can know, and
// logs each request. It has nothing in common with nginx but its place.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// grace is how long requests under way may take once the server is told to stop.
const grace = 5 * time.Second

const page = `<!doctype html>
<title>Welcome to nginx!</title>
<h1>Welcome to nginx!</h1>
<p>Not quite: this is the stand-in that Periplus tests with.
`

func main() {
	addr := flag.String("listen", ":80", "address to listen on")
	flag.Parse()
	log.SetOutput(os.Stdout)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGINT)
	err := serve(ctx, *addr)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// serve answers until the context ends, then lets the requests under way end.
func serve(ctx context.Context, addr string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: grace}
	log.Printf("listening on %s", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer gives the page under / and nothing elsewhere, as a fresh nginx does.
func answer(w http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	if r.URL.Path != "/" && r.URL.Path != "/index.html" {
		status = http.StatusNotFound
	}
	log.Printf("%s %q %d", r.RemoteAddr, fmt.Sprintf("%s %s %s", r.Method, r.URL.Path, r.Proto), status)
	if status == http.StatusNotFound {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(page)) // the client is gone if this fails
}
