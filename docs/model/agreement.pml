/* The agreement of ledger/consensus as a model for Spin. README.md says what it leaves out.
 *
 * Messages are never taken away: a set of them only grows, and a replica may act on any that is in
 * it, at any time or never. So loss, delay, reordering, duplication and replay need no code, and
 * what a replica has sent is at the same time what its safety store holds (durable before sent).
 *
 * A Byzantine replica is no process. Whatever it may sign counts as sent, always; but it can not
 * sign for others, so what it claims about them must be in the sets of the correct replicas.
 *
 * Heights and views count from 0 here. Two blocks, 1 and 2, compete at each height.
 */

#ifndef N
#define N 4                     /* validators */
#endif
#ifndef Q
#define Q 3                     /* quorum; ledger/quorum.py */
#endif
#ifndef BYZANTINE
#define BYZANTINE 1             /* bit mask of validators; 1 is the first primary */
#endif
#ifndef VIEWS
#define VIEWS 3
#endif
#ifndef HEIGHTS
#define HEIGHTS 1
#endif
#ifndef RESTARTS
#define RESTARTS 0              /* how often correct replicas may crash, all together */
#endif
#if N < 4 || N > 5 || VIEWS < 2 || VIEWS > 4 || HEIGHTS < 1 || HEIGHTS > 2
#error "4 <= N <= 5, 2 <= VIEWS <= 4, 1 <= HEIGHTS <= 2"
#endif

#if N > 4
#define WITH_5(term) term
#else
#define WITH_5(term)
#endif
#if VIEWS > 2
#define WITH_VIEW_2(term) term
#else
#define WITH_VIEW_2(term)
#endif
#if VIEWS > 3
#define WITH_VIEW_3(term) term
#else
#define WITH_VIEW_3(term)
#endif
#if HEIGHTS > 1
#define WITH_HEIGHT_1(term) term
#else
#define WITH_HEIGHT_1(term)
#endif

#define BIT(i)       (1 << (i))
#define COUNT(set)   (((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1) \
                      + (((set) >> 3) & 1) + (((set) >> 4) & 1))
#define PRIMARY(v)   ((v) % N)
#define IS_BYZ(r)    ((BYZANTINE >> (r)) & 1)
#define LIARS        COUNT(BYZANTINE)

/* ---- The messages of correct replicas ----------------------------------------------------- */

#define AT(h, v)        ((h) * VIEWS + (v))
#define FOR(h, v, x)    (AT(h, v) * 2 + (x) - 1)
#define FROM(h, v, r)   (AT(h, v) * N + (r))

byte pre_prepares[HEIGHTS * VIEWS];     /* bit x: the primary proposed x */
byte new_views[HEIGHTS * VIEWS];        /* bit x: it did so in a NEW-VIEW */
byte prepares[HEIGHTS * VIEWS * 2];     /* bit r: replica r */
byte commits[HEIGHTS * VIEWS * 2];      /* bit r: replica r */
byte view_changes[HEIGHTS * VIEWS * N]; /* bit c: with prepared certificate c */
byte restarts;

/* A prepared certificate is a number: 0 is none, those of later views are higher. */
#define CERTIFICATE(v, x)   (2 * (v) + (x))
#define VIEW_OF(c)          (((c) - 1) / 2)
#define BELOW_VIEW(v)       ((1 << (2 * (v) + 1)) - 1)  /* set of none and those of lower views */

/* ---- What the messages prove -------------------------------------------------------------- */

#define PROPOSED(h, v, x) (IS_BYZ(PRIMARY(v)) || (pre_prepares[AT(h, v)] & BIT(x)))

/* The proposal and Q-1 PREPAREs of distinct backups; Byzantine backups sign every one. */
#ifdef PRIMARY_PREPARES
#define LYING_BACKUPS(v) LIARS
#else
#define LYING_BACKUPS(v) (LIARS - IS_BYZ(PRIMARY(v)))
#endif
#define PREPARED(h, v, x) (PROPOSED(h, v, x) \
    && COUNT(prepares[FOR(h, v, x)]) + LYING_BACKUPS(v) >= Q - 1)

/* A quorum certificate: Q COMMITs of one view. */
#if defined(PREPARE_IS_COMMIT)
#define COMMITTERS(h, v, x) (commits[FOR(h, v, x)] | prepares[FOR(h, v, x)])
#elif defined(COMMITS_OF_ALL_VIEWS)
#define COMMITTERS(h, v, x) (commits[FOR(h, 0, x)] | commits[FOR(h, 1, x)] \
    WITH_VIEW_2(| commits[FOR(h, 2, x)]) WITH_VIEW_3(| commits[FOR(h, 3, x)]))
#else
#define COMMITTERS(h, v, x) commits[FOR(h, v, x)]
#endif
#define CERTIFIED(h, v, x)  (COUNT(COMMITTERS(h, v, x)) + LIARS >= Q)
#define CERTIFIED_ANY(h, v) (CERTIFIED(h, v, 1) || CERTIFIED(h, v, 2))
#define DECIDED(h, x) (CERTIFIED(h, 0, x) || CERTIFIED(h, 1, x) \
    WITH_VIEW_2(|| CERTIFIED(h, 2, x)) WITH_VIEW_3(|| CERTIFIED(h, 3, x)))

/* Whether r has sent a view-change for w that may be used at height h: with a certificate of a view
 * below `below`, or of a lower height, whose certificate does not matter. */
#ifdef OLD_VIEW_CHANGE
#define SENT(h, w, r) (view_changes[FROM(h, w, r)] | view_changes[FROM(h, (w) - 1, r)])
#else
#define SENT(h, w, r) view_changes[FROM(h, w, r)]
#endif
#define LEFT(h, w, r, below) ((SENT(h, w, r) & BELOW_VIEW(below)) != 0 \
    WITH_HEIGHT_1(|| ((h) == 1 && SENT(0, w, r) != 0)))
#define QUORUM_LEFT(h, w, below) (LIARS + LEFT(h, w, 0, below) + LEFT(h, w, 1, below) \
    + LEFT(h, w, 2, below) + LEFT(h, w, 3, below) WITH_5(+ LEFT(h, w, 4, below)) >= Q)

/* Whether some quorum of view-changes for w requires or allows x at height h. A Byzantine replica
 * is in each of them and shows any certificate that exists. */
#ifdef ANY_CERTIFICATE
#define HIGHEST(m) VIEWS
#else
#define HIGHEST(m) ((m) + 1)
#endif
#ifdef FORGED_CERTIFICATE
#define SHOWN(h, m, x) true
#else
#define SHOWN(h, m, x) PREPARED(h, m, x)
#endif
#define REQUIRED(h, w, x, m) ((w) > (m) && SHOWN(h, m, x) && QUORUM_LEFT(h, w, HIGHEST(m)))
#define FOLLOWS(h, w, x) (QUORUM_LEFT(h, w, 0) || REQUIRED(h, w, x, 0) \
    WITH_VIEW_2(|| REQUIRED(h, w, x, 1)) WITH_VIEW_3(|| REQUIRED(h, w, x, 2)))
#ifdef NO_RECOMPUTE
#define ACCEPTABLE(h, w, x) QUORUM_LEFT(h, w, VIEWS)
#else
#define ACCEPTABLE(h, w, x) FOLLOWS(h, w, x)
#endif
#define OPENED(h, w, x) ((IS_BYZ(PRIMARY(w)) && ACCEPTABLE(h, w, x)) \
    || (new_views[AT(h, w)] & BIT(x)))

/* Whether f others and a correct one want view w or a higher one. */
#define WANTED_BY(h, w) (view_changes[FROM(h, w, 0)] || view_changes[FROM(h, w, 1)] \
    || view_changes[FROM(h, w, 2)] || view_changes[FROM(h, w, 3)] \
    WITH_5(|| view_changes[FROM(h, w, 4)]))
#define WANTED_IN(w) (WANTED_BY(0, w) WITH_HEIGHT_1(|| WANTED_BY(1, w)))
#define WANTED(w) (WANTED_IN(w) || ((w) + 1 < VIEWS && WANTED_IN(((w) + 1) % VIEWS)))

/* ---- Properties --------------------------------------------------------------------------- */

/* SAFE-1: no two certificates for one height. With DECIDED_AGAIN, to see that the model does not
 * hold by doing nothing: no block is decided in the first view and once more in the last one. */
#ifdef DECIDED_AGAIN
#define AGREEMENT(h) assert((h) + 1 < HEIGHTS \
    || !(CERTIFIED(h, 0, 1) && CERTIFIED(h, VIEWS - 1, 1)))
#else
#define AGREEMENT(h) assert(!(DECIDED(h, 1) && DECIDED(h, 2)))
#endif

/* A correct replica signs one block for each (kind, height, view), and none in a view it left. */
#ifdef AGREEMENT_ONLY
#define ONCE(condition) skip
#else
#define ONCE(condition) assert(condition)
#endif

/* ---- One correct replica ------------------------------------------------------------------ */

#if HEIGHTS == 1                /* then these do not change */
#define height    0
#define certified 0
#endif
#define OTHER(x) (3 - (x))
#define AHEAD(w) ((w) > view || ((w) == view && !entered))
#ifdef NOT_ENTERED
#define MAY_VOTE true
#else
#define MAY_VOTE entered
#endif
#ifdef DROP_CERTIFICATE
#define REPORTED 0
#else
#define REPORTED certificate
#endif

/* For a replayed counterexample. */
#define SAY(action) printf(action, me, height, view, accepted)

inline become(w, as_entered) {
    view = w;
    entered = as_entered;
    accepted = 0
}

inline send_view_change() {
    ONCE((view_changes[FROM(height, view, me)] & ~BIT(REPORTED)) == 0);
    view_changes[FROM(height, view, me)] = view_changes[FROM(height, view, me)] | BIT(REPORTED);
    printf("%d, height %d: leaves for view %d, certificate %d\n", me, height, view, REPORTED)
}

inline propose(x) {
    ONCE((pre_prepares[AT(height, view)] & BIT(OTHER(x))) == 0);
    pre_prepares[AT(height, view)] = pre_prepares[AT(height, view)] | BIT(x);
    accepted = x;
    SAY("%d, height %d, view %d: proposes %d\n")
}

#define LEFT_FOR(w) ((w) < VIEWS && view_changes[FROM(height, (w) % VIEWS, me)])
#define VOTE(kind, action) \
    SAY(action); \
    ONCE(!(kind[FOR(height, view, OTHER(accepted))] & BIT(me))); \
    ONCE(!LEFT_FOR(view + 1) && !LEFT_FOR(view + 2) && !LEFT_FOR(view + 3)); \
    kind[FOR(height, view, accepted)] = kind[FOR(height, view, accepted)] | BIT(me); \
    AGREEMENT(height)

/* Back from what is durable: the own messages, and the certificate of the height below. */
#define VOTED(h, v) (((prepares[FOR(h, v, 1)] | prepares[FOR(h, v, 2)] | commits[FOR(h, v, 1)] \
    | commits[FOR(h, v, 2)]) & BIT(me)) || (PRIMARY(v) == me && pre_prepares[AT(h, v)]))
#define EVER_VOTED(v) (VOTED(0, v) WITH_HEIGHT_1(|| VOTED(1, v)))
#ifdef LOST_VIEW_CHANGE
#define EVER_LEFT(v) false
#else
#define EVER_LEFT(v) (view_changes[FROM(0, v, me)] WITH_HEIGHT_1(|| view_changes[FROM(1, v, me)]))
#endif
byte i;                         /* 0 except within restart */
inline restart() {
    restarts++;
    become(certified, true);
    certificate = 0;
#ifndef AMNESIA
    for (i : 1 .. VIEWS - 1) {
        if
        :: i > view && (EVER_VOTED(i) || EVER_LEFT(i)) -> view = i
        :: else
        fi
    }
    entered = (view == certified || EVER_VOTED(view));
    for (i : 1 .. 2) {
        if
        :: (prepares[FOR(height, view, i)] & BIT(me)) ||
           (PRIMARY(view) == me && (pre_prepares[AT(height, view)] & BIT(i))) -> accepted = i
        :: else
        fi
    }
#ifndef LOST_CERTIFICATE
    for (i : 1 .. 2 * VIEWS) {
        if
        :: commits[AT(height, 0) * 2 + i - 1] & BIT(me) -> certificate = i
        :: else
        fi
    }
#endif
#endif
    i = 0;
    SAY("%d, height %d: restarts in view %d, proposal %d\n")
}

#define PROPOSE(x) :: d_step { entered && !accepted && PRIMARY(view) == me -> propose(x) }
#define ACCEPT(x) :: d_step { MAY_VOTE && !accepted && PRIMARY(view) != me \
    && PROPOSED(height, view, x) -> accepted = x }
#define PREPARED_BY_ME (PRIMARY(view) == me || (prepares[FOR(height, view, accepted)] & BIT(me)))
#define LEAVE(w) :: d_step { view < (w) && ((w) == view + 1 || WANTED(w)) -> \
    become(w, false); send_view_change() }
#define OPEN(w, x) :: d_step { PRIMARY(w) == me && view == (w) && !entered \
    && FOLLOWS(height, w, x) -> entered = true; propose(x); \
    new_views[AT(height, w)] = new_views[AT(height, w)] | BIT(x) }
#define ENTER(w, x) :: d_step { AHEAD(w) && PRIMARY(w) != me && OPENED(height, w, x) -> \
    become(w, true); accepted = x; SAY("%d, height %d: enters view %d, proposal %d\n") }
#define CHANGE(w) LEAVE(w) OPEN(w, 1) OPEN(w, 2) ENTER(w, 1) ENTER(w, 2)

/* With a second height: a NEW-VIEW or a certificate of the first one also opens its view. */
#define ENTER_FROM_BELOW(w) :: d_step { height == 1 && AHEAD(w) \
    && (OPENED(0, w, 1) || OPENED(0, w, 2) || CERTIFIED_ANY(0, w)) -> become(w, true) }
#define APPLY(v) :: d_step { height == 0 && CERTIFIED_ANY(0, v) -> \
    height = 1; certified = v; accepted = 0; certificate = 0; \
    if :: AHEAD(v) -> become(v, true) :: else fi; \
    if :: !entered -> send_view_change() :: else fi }
#define GO_ON(v) APPLY(v) ENTER_FROM_BELOW(v)

proctype Replica(byte me) {
    byte view = 0;
    bit entered = true;         /* view 0 needs no NEW-VIEW */
    byte accepted = 0;          /* the proposal of this view */
    byte certificate = 0;       /* the prepared certificate of this height */
#if HEIGHTS > 1
    byte height = 0;            /* the one to decide next */
    byte certified = 0;         /* view of the certificate of the height below */
#endif
end:
    do
    PROPOSE(1) PROPOSE(2) ACCEPT(1) ACCEPT(2)
    :: d_step { MAY_VOTE && accepted && !PREPARED_BY_ME ->
        VOTE(prepares, "%d, height %d, view %d: prepares %d\n") }
    :: d_step { MAY_VOTE && accepted && PREPARED_BY_ME && certificate < CERTIFICATE(view, 1) &&
        PREPARED(height, view, accepted) ->
        certificate = CERTIFICATE(view, accepted);
        VOTE(commits, "%d, height %d, view %d: commits %d\n") }
    CHANGE(1) WITH_VIEW_2(CHANGE(2)) WITH_VIEW_3(CHANGE(3))
    WITH_HEIGHT_1(GO_ON(0) GO_ON(1) WITH_VIEW_2(GO_ON(2)) WITH_VIEW_3(GO_ON(3)))
#ifdef OBSERVER                 /* its safety store is gone: it never votes again */
    :: d_step { restarts < RESTARTS -> restarts++ }; break
#else
    :: d_step { restarts < RESTARTS -> restart() }
#endif
    od
}

#define START(r) if :: IS_BYZ(r) :: else -> run Replica(r) fi
init { atomic { START(0); START(1); START(2); START(3) WITH_5(; START(4)) } }
