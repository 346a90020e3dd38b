package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"periplus.dev/events"
	"periplus.dev/history"
	"periplus.dev/projections"
)

// usageError is a mistake in how a command was called.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// usagef makes a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// noArguments refuses arguments.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command or argument %q for %q, see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
	}
	return nil
}

// Output formats.
const (
	asTable       = "table"
	asWide        = "wide"
	asJSON        = "json"
	asYAML        = "yaml"
	asCloudEvents = "cloudevents"
)

// output is the flag -o.
type output struct {
	format  string
	allowed []string
}

func (o *output) addFlag(cmd *cobra.Command, allowed ...string) {
	o.allowed = allowed
	cmd.Flags().StringVarP(&o.format, "output", "o", allowed[0], "how to write it: "+strings.Join(allowed, ", "))
}

func (o *output) check() error {
	if !slices.Contains(o.allowed, o.format) {
		return usagef("-o %s: want one of %s", o.format, strings.Join(o.allowed, ", "))
	}
	return nil
}

// human reports whether a person reads the output.
func (o *output) human() bool { return o.format == asTable || o.format == asWide }

// writeJSON writes one document on one line.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeYAML writes one document, and a separator behind it if it is one of many.
func writeYAML(w io.Writer, v any, many bool) error {
	doc, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode yaml: %w", err)
	}
	if many {
		doc = append([]byte("---\n"), doc...)
	}
	_, err = w.Write(doc)
	return err
}

// paint colours text for a terminal.
type paint bool

// colour is an ANSI colour.
type colour string

const (
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	blue   colour = "34"
	cyan   colour = "36"
	grey   colour = "90"
)

// paintFor colours for a terminal, unless $NO_COLOR or $TERM says otherwise.
func paintFor(w io.Writer) paint {
	file, ok := w.(*os.File)
	return paint(ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb")
}

func (p paint) in(c colour, s string) string {
	if !p || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// event writes an event's type without what all types share, in the colour of
// who records such events; red if it records a failure.
func (p paint) event(e history.Told) string {
	t := events.Type(e.Type)
	spec, _ := events.Lookup(t)
	c := blue // reconcilers
	switch {
	case e.Failed:
		c = red
	case spec.Owner == events.OwnerDoor:
		c = cyan
	case spec.Owner == events.OwnerNode:
		c = green
	case spec.Owner == events.OwnerScheduler:
		c = yellow
	}
	return p.in(c, history.OneLine(t.Short()))
}

// what writes the sentence of an event, with a person's words behind it.
func (p paint) what(e history.Told) string {
	s := history.OneLine(e.Sentence)
	if e.Failed {
		s = p.in(red, s)
	}
	if e.Reason != "" {
		s += " " + p.in(grey, strconv.Quote(history.OneLine(e.Reason)))
	}
	return s
}

// column is one column of a table of events.
type column struct {
	title string
	width int // at least, where rows are written as they come
	cell  func(paint, history.Told) string
}

// Columns of tables of events.
var (
	columnSeq    = column{"seq", 6, func(_ paint, e history.Told) string { return strconv.FormatUint(e.Seq, 10) }}
	columnTime   = column{"time", 20, func(_ paint, e history.Told) string { return e.Time.UTC().Format(time.RFC3339) }}
	columnEvent  = column{"event", 27, func(p paint, e history.Told) string { return p.event(e) }}
	columnBy     = column{"by", 22, func(_ paint, e history.Told) string { return history.OneLine(e.Actor) }}
	columnCause  = column{"cause", 6, func(_ paint, e history.Told) string { return causeOf(e.Entry) }}
	columnSpace  = column{"namespace", 12, func(_ paint, e history.Told) string { return spaceOf(e.Entry) }}
	columnObject = column{"object", 32, func(_ paint, e history.Told) string { return objectOf(e.Entry) }}
	columnWhat   = column{"what", 0, func(p paint, e history.Told) string { return p.what(e) }}
	// Only wide tables have these.
	columnChangeSet = column{"change set", 36, func(_ paint, e history.Told) string { return history.OneLine(e.Change) }}
	columnChanged   = column{"changed", 20, func(_ paint, e history.Told) string { return history.OneLine(strings.Join(e.Changed, ",")) }}
)

func causeOf(e history.Entry) string {
	if e.Cause == nil {
		return "-"
	}
	return strconv.FormatUint(*e.Cause, 10)
}

func spaceOf(e history.Entry) string {
	k, err := events.ParseKey(e.Object)
	if err != nil || k.Namespace == "" {
		return "-"
	}
	return history.OneLine(k.Namespace)
}

// objectOf names the object as kubectl does and takes it: "deployment/web"; with
// the resource in full where the kind is not one of those that we know.
func objectOf(e history.Entry) string {
	k, err := events.ParseKey(e.Object)
	if err != nil {
		return history.OneLine(e.Object)
	}
	kind := strings.ToLower(projections.KindOf(k))
	if kind == "" {
		kind = k.GroupResource()
	}
	return history.OneLine(kind + "/" + k.Name)
}

// rows writes events as a table in kubectl's style.
type rows struct {
	out     io.Writer
	paint   paint
	columns []column
	flowing bool // rows are written as they come: columns have their own widths
	begun   bool
}

// write adds rows; the first call writes the header too.
func (r *rows) write(all ...history.Told) error {
	if len(all) == 0 {
		return nil
	}
	t := table.NewWriter()
	t.SetStyle(kubectlStyle())
	t.SuppressTrailingSpaces()
	if r.flowing {
		t.SetColumnConfigs(r.widths())
	}
	if !r.begun {
		r.begun = true
		header := table.Row{}
		for _, c := range r.columns {
			header = append(header, c.title)
		}
		t.AppendHeader(header)
	}
	for _, e := range all {
		row := table.Row{}
		for _, c := range r.columns {
			row = append(row, c.cell(r.paint, e))
		}
		t.AppendRow(row)
	}
	_, err := fmt.Fprintln(r.out, t.Render())
	return err
}

func (r *rows) widths() []table.ColumnConfig {
	var out []table.ColumnConfig
	for i, c := range r.columns {
		out = append(out, table.ColumnConfig{Number: i + 1, WidthMin: c.width})
	}
	return out
}

// kubectlStyle has upper-case titles, three spaces between columns and no lines.
func kubectlStyle() table.Style {
	s := table.StyleDefault
	s.Box.PaddingLeft, s.Box.PaddingRight = "", "   "
	s.Options = table.OptionsNoBordersAndSeparators
	return s
}
