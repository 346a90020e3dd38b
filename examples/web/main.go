// Command web is the example that `make up` runs: a web server of one page that
// says where it runs, so that you can see which pod answered.
package main

import (
	"context"
	"errors"
	"flag"
	"html/template"
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

// facts is what the page shows.
type facts struct {
	Greeting string // GREETING in the environment: see web.yaml
	Host     string
	Pod      string // POD_NAME in the environment, if somebody set it
	Path     string
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<title>Periplus</title>
<h1>{{.Greeting}}</h1>
<p>Host name: {{.Host}}
{{with .Pod}}<p>Pod: {{.}}
{{end}}<p>Path: {{.Path}}
`))

func main() {
	defaultAddr := ":8080"
	if port := os.Getenv("PORT"); port != "" {
		defaultAddr = ":" + port
	}
	addr := flag.String("listen", defaultAddr, "address to listen on; PORT in the environment gives another port")
	flag.Parse()
	log.SetOutput(os.Stdout)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := serve(ctx, *addr)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// serve answers until the context ends, then lets the requests under way end.
func serve(ctx context.Context, addr string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	greeting := os.Getenv("GREETING")
	if greeting == "" {
		greeting = "Hello"
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler(facts{Greeting: greeting, Host: host, Pod: os.Getenv("POD_NAME")}),
		ReadHeaderTimeout: grace,
	}
	log.Printf("listening on %s", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Print("stopping")
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

// handler serves the page under every path, and /healthz for probes.
func handler(f facts) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n")) // the client is gone if this fails
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s %s from %s", r.Method, r.URL.Path, r.RemoteAddr)
		here := f
		here.Path = r.URL.Path
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, here) // likewise
	})
	return mux
}
