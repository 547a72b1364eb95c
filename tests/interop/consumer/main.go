// Command consumer is a small two-stage consumer, written against Gazette's consumer framework, that finds out whether
// the brokers below it keep the framework's promise of exactly-once.
//
// Writers publish numbered messages into tally/in/…. Shards "relay-…" read them and publish each again, within their
// transactions, into tally/out/…. Shards "tally-…" read those, and hold every writer's numbers against the one that has
// to come next. A message that is lost, delivered twice or out of order is seen as a gap in some writer's numbers.
//
//	consumer serve …                          the consumer process, with the framework's own flags
//	consumer publish --broker URL …           writes messages, and prints how many as JSON
//
// What a process serves of the tally shards it holds is told at GET /tally, as JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"go.gazette.dev/core/broker/client"
	pb "go.gazette.dev/core/broker/protocol"
	"go.gazette.dev/core/consumer"
	"go.gazette.dev/core/consumer/recoverylog"
	"go.gazette.dev/core/labels"
	mbp "go.gazette.dev/core/mainboilerplate"
	"go.gazette.dev/core/mainboilerplate/runconsumer"
	"go.gazette.dev/core/message"
)

// Numbered is the one kind of message: the number N of a writer, counted from 1.
type Numbered struct {
	UUID   message.UUID `json:"uuid"`
	Writer string       `json:"writer,omitempty"`
	N      int64        `json:"n,omitempty"`
}

func (m *Numbered) SetUUID(uuid message.UUID)                     { m.UUID = uuid }
func (m *Numbered) GetUUID() message.UUID                         { return m.UUID }
func (m *Numbered) NewAcknowledgement(pb.Journal) message.Message { return new(Numbered) }

// partition names the journal of a stage that holds a writer's messages: all of them, so that their order is one.
func partition(stage, writer string) pb.Journal {
	return pb.Journal(fmt.Sprintf("tally/%s/part-%s", stage, writer[strings.LastIndexByte(writer, '-')+1:]))
}

func mapTo(stage string) message.MappingFunc {
	return func(m message.Mappable) (pb.Journal, string, error) {
		return partition(stage, m.(*Numbered).Writer), labels.ContentType_JSONLines, nil
	}
}

// Seen is what a tally shard knows of a writer.
type Seen struct {
	// Count of messages, and the greatest number.
	Count, Last int64
	// Wrong counts messages that were not the next number.
	Wrong int64
}

// State is what a shard keeps.
type State struct {
	Writers map[string]*Seen
	// Acks counts acknowledgements, which carry no number.
	Acks int64
}

// app holds, besides the framework's stores, a copy of each shard's state for those who ask over HTTP.
type app struct {
	mu     sync.Mutex
	states map[string]json.RawMessage
}

func (*app) NewConfig() runconsumer.Config { return new(struct{ runconsumer.BaseConfig }) }

func (a *app) InitApplication(args runconsumer.InitArgs) error {
	args.Server.HTTPMux.HandleFunc("/tally", func(w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(a.states)
	})
	return nil
}

func (a *app) NewStore(shard consumer.Shard, recorder *recoverylog.Recorder) (consumer.Store, error) {
	var state = &State{Writers: make(map[string]*Seen)}
	var store, err = consumer.NewJSONFileStore(recorder, state)
	if err != nil {
		return nil, err
	}
	return store, a.publish(shard, state)
}

func (*app) NewMessage(*pb.JournalSpec) (message.Message, error) { return new(Numbered), nil }

func (*app) ConsumeMessage(
	shard consumer.Shard, store consumer.Store, env message.Envelope, pub *message.Publisher,
) error {
	var state = store.(*consumer.JSONFileStore).State.(*State)
	var m = env.Message.(*Numbered)

	if message.GetFlags(m.UUID) == message.Flag_ACK_TXN {
		state.Acks++
		return nil
	}
	var seen, ok = state.Writers[m.Writer]
	if !ok {
		seen = new(Seen)
		state.Writers[m.Writer] = seen
	}
	if m.N != seen.Last+1 {
		seen.Wrong++
	}
	seen.Count++
	seen.Last = max(seen.Last, m.N)

	if strings.HasPrefix(shard.Spec().Id.String(), "relay-") {
		var _, err = pub.PublishUncommitted(mapTo("out"), &Numbered{Writer: m.Writer, N: m.N})
		return err
	}
	return nil
}

func (a *app) FinalizeTxn(shard consumer.Shard, store consumer.Store, _ *message.Publisher) error {
	return a.publish(shard, store.(*consumer.JSONFileStore).State.(*State))
}

// publish copies a state for those who ask.
func (a *app) publish(shard consumer.Shard, state *State) error {
	var raw, err = json.Marshal(state)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.states[shard.Spec().Id.String()] = raw
	return nil
}

// publish is the other command: writers that each append their numbers in order, at a pace, and wait for all of them.
func publish(args []string) error {
	var flags = flag.NewFlagSet("publish", flag.ExitOnError)
	var broker = flags.String("broker", "", "URL of a broker")
	var writers = flags.Int("writers", 3, "writers, each with a partition of its own")
	var count = flags.Int64("messages", 1000, "messages of each writer")
	var first = flags.Int64("first", 1, "number of each writer's first message")
	var pace = flags.Duration("pace", time.Millisecond, "pause between two messages of each writer")
	var limit = flags.Duration("within", 2*time.Minute, "time within which all have to be appended")
	_ = flags.Parse(args)

	var ctx, cancel = context.WithTimeout(context.Background(), *limit)
	defer cancel()
	pb.RegisterGRPCDispatcher("local")
	var config mbp.ClientConfig
	config.Address = pb.Endpoint(*broker)
	config.Cache.Size, config.Cache.TTL = 64, time.Minute
	var service = client.NewAppendService(ctx, config.MustRoutedJournalClient(ctx))
	var clock = message.NewClock(time.Now())
	var pub = message.NewPublisher(service, &clock)

	for n := *first; n < *first+*count; n++ {
		clock.Update(time.Now())
		for w := 0; w != *writers; w++ {
			var m = &Numbered{Writer: fmt.Sprintf("writer-%03d", w), N: n}
			if _, err := pub.PublishCommitted(mapTo("in"), m); err != nil {
				return fmt.Errorf("message %d: %w", n, err)
			}
		}
		time.Sleep(*pace)
	}
	for op := range service.PendingExcept("") {
		select {
		case <-op.Done():
			if err := op.Err(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]int64{
		"writers": int64(*writers), "messages": *count, "last": *first + *count - 1,
	})
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "publish" {
		if err := publish(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "consumer publish:", err)
			os.Exit(1)
		}
		return
	}
	runconsumer.Main(&app{states: make(map[string]json.RawMessage)})
}
